// How times, lengths and money read in the chosen language.
import { serverNow } from './api/clock'
import { i18n, type Locale } from './i18n'

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000

// English dates in the order of ISO 8601: day before month or after it is a guess otherwise.
const DATE_STYLE: Record<Locale, string> = { 'zh-CN': 'zh-CN', en: 'en-CA' }

/** RFC 3339 to a date and time of the reader's zone; an absent one is a dash. */
export function dateTime(time: string | undefined): string {
  if (!time) return '—'
  return new Intl.DateTimeFormat(DATE_STYLE[i18n.global.locale.value], {
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  }).format(new Date(time))
}

/** Days from now until a time, a begun one counted; 0 when it is past. */
export function daysUntil(time: string): number {
  // The clocks agree to a second or so: 90 days given a moment ago are not 91.
  return Math.max(0, Math.ceil((Date.parse(time) - serverNow() - MINUTE_MS) / DAY_MS))
}

/**
 * A number as it is stored to how people write it: a Chinese mobile bare, a landline with 0 and its area code, any
 * other in E.164; masked ones alike.
 */
export function phoneNumber(number: string | undefined): string {
  if (!number?.startsWith('+86')) return number ?? ''
  const national = number.slice('+86'.length)
  return /^1[3-9]/.test(national) ? national : `0${national}`
}

/** Seconds as m:ss, or h:mm:ss from an hour on. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds))
  const two = (n: number) => String(n).padStart(2, '0')
  const hours = Math.floor(whole / 3600)
  const minutes = Math.floor(whole / 60) % 60
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`
}

/** Seconds from one time to another; 0 while either is absent. */
export function secondsBetween(from: string | undefined, to: string | undefined): number {
  return from && to ? (Date.parse(to) - Date.parse(from)) / 1000 : 0
}

/** Seconds of a protobuf duration in JSON, for example "1800s". */
export function durationSeconds(duration: string | undefined): number {
  return duration ? Number.parseFloat(duration) : 0
}

/** A decimal amount of a currency, ISO 4217. */
export function money(amount: string, currency = 'CNY'): string {
  if (!amount) return '—'
  return new Intl.NumberFormat(i18n.global.locale.value, { style: 'currency', currency }).format(
    amount as `${number}`,
  )
}
