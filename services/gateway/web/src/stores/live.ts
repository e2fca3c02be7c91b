// What the live socket tells this page: pops, the agent's state, unread messages, approvals.
import { defineStore } from 'pinia'
import { ref, shallowRef, watch } from 'vue'
import type { LiveEvent, Message } from '@/api/types'
import { i18n } from '@/i18n'
import { followLive } from '@/live/connection'
import { usePops } from './pops'

export const useLive = defineStore('live', () => {
  const connected = ref(false)
  const unread = ref(0)
  /** The newest message that came while the page was open. */
  const newest = shallowRef<Message>()
  /** Grows with every change of where the reader stands as an agent. */
  const agentChanges = ref(0)
  /** Grows with every change of an approval that concerns the reader. */
  const approvalChanges = ref(0)
  let stop = () => {}

  function onEvent(event: LiveEvent): void {
    const pops = usePops()
    switch (event.type) {
      case 'snapshot':
        pops.replace(event.pops)
        unread.value = event.unreadCount
        agentChanges.value++
        approvalChanges.value++
        break
      case 'pop':
        pops.apply(event.pop)
        break
      case 'agent':
        agentChanges.value++
        break
      case 'message':
        newest.value = event.message
        break
      case 'unread':
        unread.value = event.unreadCount
        break
      case 'approval':
        approvalChanges.value++
        break
    }
  }

  function start(onSessionEnd: () => void): void {
    stop()
    const url = new URL('/api/v1/live', window.location.href)
    url.protocol = url.protocol.replace('http', 'ws')
    let leave = () => {}
    // Messages come in the language of the page: another language is another connection.
    const unwatch = watch(
      i18n.global.locale,
      (locale) => {
        leave()
        url.searchParams.set('locale', locale)
        const onStatus = (live: boolean) => (connected.value = live)
        leave = followLive(url.href, { onEvent, onStatus, onSessionEnd })
      },
      { immediate: true },
    )
    stop = () => {
      unwatch()
      leave()
    }
  }

  function end(): void {
    stop()
    usePops().replace([])
  }

  return { connected, unread, newest, agentChanges, approvalChanges, onEvent, start, end }
})
