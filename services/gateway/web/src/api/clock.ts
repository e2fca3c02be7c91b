// The server's time: due times and call timers must not depend on how this computer's clock is set.

let aheadMs = 0

/** Take the time from an answer's Date header. */
export function learnTime(headers: Headers): void {
  const date = Date.parse(headers.get('date') ?? '')
  if (!Number.isNaN(date)) aheadMs = date - Date.now()
}

/** Milliseconds since the epoch by the server's clock, good to a second. */
export function serverNow(): number {
  return Date.now() + aheadMs
}
