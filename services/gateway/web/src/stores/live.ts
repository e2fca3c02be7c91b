// What the live socket tells this page: pops, unread messages, approvals.
import { defineStore } from 'pinia'
import { ref, shallowRef } from 'vue'
import type { LiveEvent, Message } from '@/api/types'
import { followLive } from '@/live/connection'
import { usePops } from './pops'

export const useLive = defineStore('live', () => {
  const connected = ref(false)
  const unread = ref(0)
  /** The newest message that came while the page was open. */
  const newest = shallowRef<Message>()
  /** Grows with every change of an approval that concerns the reader. */
  const approvalChanges = ref(0)
  let stop = () => {}

  function onEvent(event: LiveEvent): void {
    const pops = usePops()
    switch (event.type) {
      case 'snapshot':
        pops.replace(event.pops)
        unread.value = event.unreadCount
        approvalChanges.value++
        break
      case 'pop':
        pops.apply(event.pop)
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
    const url = new URL('/api/v1/live', window.location.href)
    url.protocol = url.protocol.replace('http', 'ws')
    stop = followLive(url.href, { onEvent, onStatus: (live) => (connected.value = live), onSessionEnd })
  }

  function end(): void {
    stop()
    usePops().replace([])
  }

  return { connected, unread, newest, approvalChanges, onEvent, start, end }
})
