// Where this agent stands: at which extension, in which state, and how desks work here.
import { defineStore } from 'pinia'
import { computed, shallowRef, watch } from 'vue'
import { answer, api } from '@/api/client'
import type { Agent, AgentState, DeskSettings } from '@/api/types'
import { useLive } from './live'
import { usePops } from './pops'
import { useSession } from './session'

// Wait before where the agent stands is read again when there was no answer, in milliseconds.
const RETRY_MS = 5000

export const useDesk = defineStore('desk', () => {
  const live = useLive()
  const pops = usePops()
  const session = useSession()
  const agent = shallowRef<Agent>()
  const extension = shallowRef('')
  const ownExtension = shallowRef('')
  const settings = shallowRef<DeskSettings>()
  let newest = 0
  let retry: number | undefined

  const state = computed<AgentState>(() =>
    extension.value ? (agent.value?.state ?? 'AGENT_STATE_OFFLINE') : 'AGENT_STATE_OFFLINE',
  )

  /** Read where the agent stands, until there is an answer; one that a later reading overtook is dropped. */
  async function load(): Promise<void> {
    if (!session.can('calls.agent')) return
    window.clearTimeout(retry)
    const mine = ++newest
    try {
      const [seat, standing] = await Promise.all([
        answer(api.GET('/api/v1/agent')),
        answer(api.GET('/api/v1/agent/state')),
      ])
      if (mine !== newest) return
      extension.value = seat.extension
      ownExtension.value = seat.ownExtension
      agent.value = standing.agent
    } catch {
      if (mine === newest) retry = window.setTimeout(() => void load(), RETRY_MS)
    }
  }

  async function loadSettings(): Promise<void> {
    settings.value ??= (await answer(api.GET('/api/v1/deskSettings'))).settings
  }

  /** Take the state as a change of it answered. */
  function take(now: Agent | undefined): void {
    newest++
    agent.value = now
  }

  // What the phone does, the pops tell; the rest (an outbound call, another page) is told by itself.
  watch(
    [() => pops.list.map((pop) => pop.popId + pop.state).join(), () => live.agentChanges],
    () => void load(),
  )

  return { agent, state, extension, ownExtension, settings, load, loadSettings, take }
})
