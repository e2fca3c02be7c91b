import { expect, test } from 'vitest'
import { clock, dateTime, daysUntil, durationSeconds, money, phoneNumber } from './format'

test('lengths read as a clock', () => {
  expect([0, 59.9, 61, 3600, -5].map(clock)).toEqual(['0:00', '0:59', '1:01', '1:00:00', '0:00'])
})

test('a begun day counts, and a time that is past leaves none', () => {
  const inMs = (ms: number) => daysUntil(new Date(Date.now() + ms).toISOString())
  expect(inMs(3_600_000)).toBe(1)
  expect(inMs(90 * 86_400_000 + 2000)).toBe(90)
  expect(inMs(90 * 86_400_000 + 3_600_000)).toBe(91)
  expect(inMs(-1)).toBe(0)
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

test('numbers read as people in China write them, masked or not, and others as they are', () => {
  const stored = [
    '+8613800138000',
    '+86138****8000',
    '+862158881234',
    '+86105****1234',
    '4008123456',
    '+14155550100',
    '',
  ]
  expect(stored.map(phoneNumber)).toEqual([
    '13800138000',
    '138****8000',
    '02158881234',
    '0105****1234',
    '4008123456',
    '+14155550100',
    '',
  ])
})
