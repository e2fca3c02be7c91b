import { expect, test } from 'vitest'
import type { BulkSms } from '@/api/types'
import { filterOf, percentOf, recipientsOf } from './progress'

test('progress counts who has it and who never will', () => {
  const bulk: Pick<BulkSms, 'recipients'> = {
    recipients: [
      { state: 'BULK_RECIPIENT_STATE_WAITING', count: 5 },
      { state: 'BULK_RECIPIENT_STATE_DELIVERED', count: 3 },
      { state: 'BULK_RECIPIENT_STATE_SKIPPED', count: 2 },
    ],
  }
  expect(recipientsOf(bulk)).toBe(10)
  expect(percentOf(bulk)).toBe(50)
  expect(percentOf({ recipients: [] })).toBe(0)
})

test('what was filled in becomes one filter', () => {
  expect(filterOf('', '', '')).toBe('')
  expect(JSON.parse(filterOf('A', '', ''))).toEqual({ field: 'level', op: 'eq', value: 'A' })
  const saved = '{"field":"owner_id","op":"eq","value":"me"}'
  expect(JSON.parse(filterOf('', '上海', saved))).toEqual({
    all: [{ field: 'region', op: 'contains', value: '上海' }, JSON.parse(saved)],
  })
})
