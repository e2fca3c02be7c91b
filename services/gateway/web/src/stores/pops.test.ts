import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { aPop } from '@/testing/pops'
import { usePops } from './pops'

beforeEach(() => {
  setActivePinia(createPinia())
  vi.useFakeTimers()
})
afterEach(() => vi.useRealTimers())

test('an older version than the one on the screen is ignored', () => {
  const pops = usePops()
  pops.apply(aPop({ version: '10', state: 'POP_STATE_TALKING' }))
  pops.apply(aPop({ version: '9' }))
  expect(pops.current?.state).toBe('POP_STATE_TALKING')
})

test('a late frame does not bring back a pop that was closed', () => {
  const pops = usePops()
  pops.apply(aPop({ version: '1' }))
  pops.apply(aPop({ version: '3', state: 'POP_STATE_CLOSED' }))
  pops.apply(aPop({ version: '2', state: 'POP_STATE_WRAP_UP' }))
  expect(pops.list).toEqual([])
})

test('a withdrawn pop says so for a while and leaves by itself', () => {
  const pops = usePops()
  pops.apply(aPop())
  pops.apply(aPop({ version: '2', state: 'POP_STATE_WITHDRAWN', answeredByName: '李婷' }))
  expect(pops.current?.answeredByName).toBe('李婷')
  vi.runAllTimers()
  expect(pops.list).toEqual([])
})

test('a withdrawn pop stays while somebody types into it', () => {
  const pops = usePops()
  pops.apply(aPop())
  pops.hold('pop-1', true)
  pops.apply(aPop({ version: '2', state: 'POP_STATE_WITHDRAWN' }))
  vi.runAllTimers()
  expect(pops.list).toHaveLength(1)
})

test('a pop that was closed elsewhere stays while it holds what nobody kept', () => {
  const pops = usePops()
  pops.apply(aPop({ state: 'POP_STATE_WRAP_UP' }))
  pops.hold('pop-1', true)
  pops.apply(aPop({ version: '2', state: 'POP_STATE_CLOSED' }))
  pops.replace([])
  expect(pops.current?.state).toBe('POP_STATE_WRAP_UP')
  pops.dismiss('pop-1')
  expect(pops.list).toEqual([])
})

test('a pop that was withdrawn before this page saw it is not shown', () => {
  const pops = usePops()
  pops.apply(aPop({ state: 'POP_STATE_WITHDRAWN' }))
  expect(pops.list).toEqual([])
})

test('a snapshot brings what is open and takes away what no longer is', () => {
  const pops = usePops()
  pops.apply(aPop({ popId: 'gone' }))
  pops.replace([aPop({ popId: 'open', version: '4', state: 'POP_STATE_WRAP_UP' })])
  expect(pops.list.map((pop) => pop.popId)).toEqual(['open'])
})

test('a snapshot that is older than the stream does not set a pop back', () => {
  const pops = usePops()
  pops.apply(aPop({ version: '5', state: 'POP_STATE_TALKING' }))
  pops.replace([aPop({ version: '4' })])
  expect(pops.current?.state).toBe('POP_STATE_TALKING')
})

test('a new call comes in front of one in wrap-up, but not of one that is talked on', () => {
  const pops = usePops()
  pops.apply(aPop({ popId: 'first', state: 'POP_STATE_WRAP_UP' }))
  pops.apply(aPop({ popId: 'second', ringTime: '2026-01-05T08:05:00Z' }))
  expect(pops.current?.popId).toBe('second')
  pops.apply(aPop({ popId: 'second', version: '2', state: 'POP_STATE_TALKING' }))
  pops.apply(aPop({ popId: 'third', ringTime: '2026-01-05T08:06:00Z' }))
  expect(pops.current?.popId).toBe('second')
  pops.pick('first')
  expect(pops.current?.popId).toBe('first')
})
