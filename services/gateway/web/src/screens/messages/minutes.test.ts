import { expect, test } from 'vitest'
import { minuteOf, timeOf } from './minutes'

test('a minute of the day is shown as a clock does and read back', () => {
  expect([0, 9 * 60 + 5, 1439].map(timeOf)).toEqual(['00:00', '09:05', '23:59'])
  for (let minute = 0; minute < 1440; minute += 7) expect(minuteOf(timeOf(minute))).toBe(minute)
})
