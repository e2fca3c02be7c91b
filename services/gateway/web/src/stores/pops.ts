// The pops on this agent's screen, in step with the server whatever order its answers come in.
import { defineStore } from 'pinia'
import { computed, reactive, ref } from 'vue'
import type { Pop } from '@/api/types'

// How long a pop that was withdrawn still says why.
const WITHDRAWN_SHOWN_MS = 6000

const URGENCY: Partial<Record<Pop['state'], number>> = {
  POP_STATE_RINGING: 3,
  POP_STATE_TALKING: 2,
  POP_STATE_WRAP_UP: 1,
}

export const usePops = defineStore('pops', () => {
  const shown = reactive(new Map<string, Pop>())
  const pickedId = ref('')
  // Versions of pops that left the screen, so that a late, older frame cannot bring one back.
  const left = new Map<string, bigint>()
  const timers = new Map<string, number>()
  const held = new Set<string>()

  const list = computed(() =>
    [...shown.values()].sort((a, b) => (b.ringTime ?? '').localeCompare(a.ringTime ?? '')),
  )
  /** The pop in front: the picked one, else the most urgent, else the newest. */
  const current = computed(
    () =>
      shown.get(pickedId.value) ??
      [...list.value].sort((a, b) => (URGENCY[b.state] ?? 0) - (URGENCY[a.state] ?? 0))[0],
  )
  const ringing = computed(() => list.value.find((pop) => pop.state === 'POP_STATE_RINGING'))

  function isNews(pop: Pop): boolean {
    const known = shown.get(pop.popId)?.version ?? left.get(pop.popId)
    return known === undefined || BigInt(pop.version) > BigInt(known)
  }

  /** Take a pop as the server has it now; older versions are ignored. */
  function apply(pop: Pop): void {
    if (!isNews(pop)) return
    const before = shown.get(pop.popId)
    if (pop.state === 'POP_STATE_CLOSED' && before && held.has(pop.popId)) {
      shown.set(pop.popId, { ...pop, state: 'POP_STATE_WRAP_UP' })
      return
    }
    if (pop.state === 'POP_STATE_CLOSED' || (pop.state === 'POP_STATE_WITHDRAWN' && !before)) {
      drop(pop.popId, pop.version)
      return
    }
    shown.set(pop.popId, pop)
    if (pop.state === 'POP_STATE_RINGING' && current.value?.state !== 'POP_STATE_TALKING')
      pickedId.value = pop.popId
    if (pop.state === 'POP_STATE_WITHDRAWN' && !timers.has(pop.popId)) {
      timers.set(
        pop.popId,
        window.setTimeout(() => held.has(pop.popId) || dismiss(pop.popId), WITHDRAWN_SHOWN_MS),
      )
    }
  }

  /** Take all open pops of the server; what it no longer has leaves the screen. */
  function replace(pops: Pop[]): void {
    const open = new Set(pops.map((pop) => pop.popId))
    for (const pop of shown.values()) {
      const stays = open.has(pop.popId) || held.has(pop.popId) || pop.state === 'POP_STATE_WITHDRAWN'
      if (!stays) drop(pop.popId, pop.version)
    }
    pops.forEach(apply)
  }

  /** Take a pop from this screen, without telling the server. */
  function dismiss(popId: string): void {
    const pop = shown.get(popId)
    if (pop) drop(popId, pop.version)
  }

  /** Say whether it holds something that was typed and is not kept yet: it does not go by itself then. */
  function hold(popId: string, unsaved: boolean): void {
    if (unsaved) held.add(popId)
    else held.delete(popId)
  }

  function drop(popId: string, version: string): void {
    window.clearTimeout(timers.get(popId))
    timers.delete(popId)
    held.delete(popId)
    shown.delete(popId)
    left.set(popId, BigInt(version))
    if (pickedId.value === popId) pickedId.value = ''
  }

  function pick(popId: string): void {
    pickedId.value = popId
  }

  return { list, current, ringing, apply, replace, dismiss, hold, pick }
})
