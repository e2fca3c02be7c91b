import { expect, test } from 'vitest'
import { between, hours, minutes, monday, overMidnight, plus, today, weekday } from './days'

test('a day begins in China, whatever the browser thinks', () => {
  expect(today(Date.parse('2026-02-28T15:59:59Z'))).toBe('2026-02-28')
  expect(today(Date.parse('2026-02-28T16:00:00Z'))).toBe('2026-03-01')
})

test('days are counted over the ends of months', () => {
  expect(plus('2026-02-28', 1)).toBe('2026-03-01')
  expect(plus('2026-01-01', -1)).toBe('2025-12-31')
  expect(between('2026-02-27', '2026-03-01')).toEqual(['2026-02-27', '2026-02-28', '2026-03-01'])
  expect(between('2026-03-01', '2026-02-01')).toEqual(['2026-03-01'])
})

test('a week begins on Monday', () => {
  expect(weekday('2026-03-01')).toBe(6)
  expect(monday('2026-03-01')).toBe('2026-02-23')
  expect(monday('2026-02-23')).toBe('2026-02-23')
})

test('hours are written as people write them', () => {
  expect(hours(570)).toBe('09:30')
  expect(hours(1440)).toBe('24:00')
  expect(minutes('09:30')).toBe(570)
  expect(overMidnight({ startMinute: 1320, endMinute: 360 })).toBe(true)
})
