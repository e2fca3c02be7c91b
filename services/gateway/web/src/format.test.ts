import { expect, test } from 'vitest'
import { clock, dateTime, daysUntil, durationSeconds, money } from './format'

test('lengths read as a clock', () => {
  expect([0, 59.9, 61, 3600, -5].map(clock)).toEqual(['0:00', '0:59', '1:01', '1:00:00', '0:00'])
})

test('days are counted up, and a time that is past leaves none', () => {
  expect(daysUntil(new Date(Date.now() + 1000).toISOString())).toBe(1)
  expect(daysUntil(new Date(Date.now() + 2 * 86_400_000 + 5000).toISOString())).toBe(3)
  expect(daysUntil('2020-01-01T00:00:00Z')).toBe(0)
})

test('amounts keep their cents', () => {
  expect(money('12345678901234.56')).toBe('¥12,345,678,901,234.56')
  expect(money('')).toBe('—')
})

test('a duration is in seconds, and an absent time is a dash', () => {
  expect(durationSeconds('1800s')).toBe(1800)
  expect(durationSeconds(undefined)).toBe(0)
  expect(dateTime(undefined)).toBe('—')
})
