// Where this agent stands: at which extension, in which state, and how desks work here.
import { defineStore } from 'pinia'
import { computed, shallowRef, watch } from 'vue'
import { answer, api } from '@/api/client'
import type { Agent, AgentState, DeskSettings } from '@/api/types'
import { usePops } from './pops'

export const useDesk = defineStore('desk', () => {
  const pops = usePops()
  const agent = shallowRef<Agent>()
  const extension = shallowRef('')
  const ownExtension = shallowRef('')
  const settings = shallowRef<DeskSettings>()
  let newest = 0

  const state = computed<AgentState>(() =>
    extension.value ? (agent.value?.state ?? 'AGENT_STATE_OFFLINE') : 'AGENT_STATE_OFFLINE',
  )

  /** Read where the agent stands; an answer that a later reading overtook is dropped. */
  async function load(): Promise<void> {
    const mine = ++newest
    const [seat, standing] = await Promise.all([
      answer(api.GET('/api/v1/agent')),
      answer(api.GET('/api/v1/agent/state')),
    ])
    if (mine !== newest) return
    extension.value = seat.extension
    ownExtension.value = seat.ownExtension
    agent.value = standing.agent
  }

  async function loadSettings(): Promise<void> {
    settings.value ??= (await answer(api.GET('/api/v1/deskSettings'))).settings
  }

  /** Take the state as a change of it answered. */
  function take(now: Agent | undefined): void {
    newest++
    agent.value = now
  }

  // What the phone does, the pops tell; the rest (an outbound call, another tab) is read when it may have changed.
  watch(
    () => pops.list.map((pop) => pop.popId + pop.state).join(),
    () => extension.value && void load().catch(() => undefined),
  )

  return { agent, state, extension, ownExtension, settings, load, loadSettings, take }
})
