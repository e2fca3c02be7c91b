import { expect, test } from 'vitest'
import { ALL_CALLS, narrowed } from './query'

test('what is left open is not sent: the server reads an empty time as a mistake', () => {
  expect(narrowed(ALL_CALLS)).toEqual({})
  const query = { ...ALL_CALLS, personId: 'p', direction: 'CALL_DIRECTION_INBOUND' as const }
  expect(narrowed(query)).toEqual({ personId: 'p', direction: 'CALL_DIRECTION_INBOUND' })
})
