import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { LiveEvent } from '@/api/types'
import { followLive, waitMs } from './connection'

class FakeSocket {
  static all: FakeSocket[] = []
  onmessage?: (event: { data: string }) => void
  onclose?: (event: { code: number }) => void

  constructor(readonly url: string) {
    FakeSocket.all.push(this)
  }

  /** The server closes it. */
  drop(code = 1006): void {
    this.onclose?.({ code })
  }

  close(): void {
    this.drop(1000)
  }

  send(event: Partial<LiveEvent>): void {
    this.onmessage?.({ data: JSON.stringify(event) })
  }
}

const events: LiveEvent[] = []
const statuses: boolean[] = []
let ended = 0
let stop = () => {}

function newest(): FakeSocket {
  const socket = FakeSocket.all.at(-1)
  if (!socket) throw new Error('no connection was made')
  return socket
}

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubGlobal('WebSocket', FakeSocket)
  FakeSocket.all = []
  events.length = statuses.length = ended = 0
  stop = followLive('ws://gateway/api/v1/live', {
    onEvent: (event) => events.push(event),
    onStatus: (live) => statuses.push(live),
    onSessionEnd: () => ended++,
  })
})
afterEach(() => {
  stop()
  vi.useRealTimers()
})

test('a stream that falls silent is made anew', () => {
  newest().send({ type: 'snapshot', seq: 1, pops: [], unreadCount: 0 })
  newest().send({ type: 'alive', seq: 2 })
  for (let seq = 3; seq < 6; seq++) {
    vi.advanceTimersByTime(20_000)
    newest().send({ type: 'alive', seq })
  }
  expect(FakeSocket.all).toHaveLength(1)
  vi.advanceTimersByTime(60_000)
  expect(statuses.at(-1)).toBe(false)
  expect(FakeSocket.all).toHaveLength(2)
})

test('frames are handed on in their order', () => {
  newest().send({ type: 'snapshot', seq: 1, pops: [], unreadCount: 3 })
  newest().send({ type: 'unread', seq: 2, unreadCount: 4 })
  expect(events.map((event) => event.type)).toEqual(['snapshot', 'unread'])
  expect(statuses.at(-1)).toBe(true)
})

test('a gap in the numbers is not shown: the connection is made anew', () => {
  newest().send({ type: 'snapshot', seq: 1, pops: [], unreadCount: 3 })
  newest().send({ type: 'unread', seq: 3, unreadCount: 9 })
  expect(events).toHaveLength(1)
  vi.runOnlyPendingTimers()
  expect(FakeSocket.all).toHaveLength(2)
  newest().send({ type: 'snapshot', seq: 1, pops: [], unreadCount: 9 })
  expect(events).toHaveLength(2)
})

test('it comes back after a break, and a broken connection says nothing more', () => {
  const first = newest()
  first.send({ type: 'snapshot', seq: 1, pops: [], unreadCount: 0 })
  first.drop()
  expect(statuses.at(-1)).toBe(false)
  vi.runOnlyPendingTimers()
  expect(FakeSocket.all).toHaveLength(2)
  first.send({ type: 'unread', seq: 2, unreadCount: 1 })
  expect(events).toHaveLength(1)
})

test('a session that has ended is told once and not tried again', () => {
  newest().drop(4401)
  vi.runAllTimers()
  expect(ended).toBe(1)
  expect(FakeSocket.all).toHaveLength(1)
})

test('a network that went is told at once, and one that came back ends the wait', () => {
  newest().send({ type: 'snapshot', seq: 1, pops: [], unreadCount: 0 })
  window.dispatchEvent(new Event('offline'))
  expect(statuses.at(-1)).toBe(false)
  window.dispatchEvent(new Event('online'))
  expect(FakeSocket.all).toHaveLength(2)
})

test('stopped means no more connections', () => {
  stop()
  vi.runAllTimers()
  expect(FakeSocket.all).toHaveLength(1)
})

test('waits double up to a limit and are spread', () => {
  expect(waitMs(0, 0)).toBe(250)
  expect(waitMs(0, 1)).toBe(500)
  expect(waitMs(3, 1)).toBe(4000)
  expect(waitMs(50, 1)).toBe(15_000)
  expect(waitMs(50, 0)).toBe(7500)
})
