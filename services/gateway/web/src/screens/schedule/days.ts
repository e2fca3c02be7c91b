// Days as 2026-03-01 and hours as minutes after midnight, both of China.
const DAY_MS = 86_400_000
const CHINA_MS = 8 * 3_600_000

/** Today in China. */
export function today(now: number = Date.now()): string {
  return new Date(now + CHINA_MS).toISOString().slice(0, 10)
}

/** The day that is some days behind another, before it for a negative number. */
export function plus(day: string, days: number): string {
  return new Date(Date.parse(`${day}T00:00:00Z`) + days * DAY_MS).toISOString().slice(0, 10)
}

/** 0 for a Monday to 6. */
export function weekday(day: string): number {
  return (new Date(`${day}T00:00:00Z`).getUTCDay() + 6) % 7
}

/** The Monday of a day's week. */
export function monday(day: string): string {
  return plus(day, -weekday(day))
}

/** The days from one to another, both of them. */
export function between(first: string, last: string): string[] {
  const days = [first]
  while ((days.at(-1) ?? last) < last) days.push(plus(days.at(-1) ?? last, 1))
  return days
}

/** 09:30 for 570, 24:00 for the end of the day. */
export function hours(minutes: number): string {
  const two = (n: number) => String(n).padStart(2, '0')
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`
}

/** 570 for 09:30. */
export function minutes(text: string): number {
  const [hour = 0, minute = 0] = text.split(':').map(Number)
  return hour * 60 + minute
}

/** Whether a shift ends on the next day. */
export function overMidnight(shift: { startMinute: number; endMinute: number }): boolean {
  return shift.endMinute <= shift.startMinute
}
