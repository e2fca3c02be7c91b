// The live socket: follows the stream, and comes back by itself when it breaks.
import type { LiveEvent } from '@/api/types'

// First wait after a break, doubled by each failure up to the longest.
const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 15_000
// Silence after which the stream is lost: the gateway says every 20 s that it is there. Where the network fails without a
// word, as behind another router, the socket would look open for ever.
const SILENCE_MS = 50_000
// Close code of the gateway for a session that has ended.
const SESSION_ENDED = 4401

export interface Listener {
  /** A frame of the stream; the first on each connection is a snapshot. */
  onEvent(event: LiveEvent): void
  /** Whether the page is up to date by the stream. */
  onStatus(live: boolean): void
  /** The gateway no longer knows the session; the connection stays closed. */
  onSessionEnd(): void
}

/** Wait before attempt `failures` + 1: half fixed, half random, so that pages do not come back in step. */
export function waitMs(failures: number, random: number): number {
  const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures)
  return longest / 2 + (random * longest) / 2
}

/**
 * Follow the live stream until the returned function is called.
 *
 * A frame whose number does not follow its predecessor's means that something was lost: the connection is made
 * anew, which begins with a snapshot.
 */
export function followLive(url: string, listener: Listener): () => void {
  let socket: WebSocket | undefined
  let timer: number | undefined
  let silence: number | undefined
  let failures = 0

  function connect(): void {
    abandon()
    let seq = 0
    const mine = (socket = new WebSocket(url))
    mine.onmessage = ({ data }: MessageEvent<string>) => {
      if (mine !== socket) return
      const event = JSON.parse(data) as LiveEvent
      if (event.seq !== ++seq) {
        retryLater()
        return
      }
      failures = 0
      // A gateway of before the upgrade does not say so.
      if (event.type === 'alive' || silence) {
        window.clearTimeout(silence)
        silence = window.setTimeout(retryLater, SILENCE_MS)
      }
      listener.onEvent(event)
      listener.onStatus(true)
    }
    mine.onclose = ({ code }) => {
      if (mine !== socket) return
      if (code === SESSION_ENDED) {
        stop()
        listener.onSessionEnd()
      } else {
        retryLater()
      }
    }
  }

  function abandon(): void {
    window.clearTimeout(timer)
    window.clearTimeout(silence)
    silence = undefined
    const old = socket
    socket = undefined
    old?.close()
  }

  function retryLater(): void {
    abandon()
    listener.onStatus(false)
    timer = window.setTimeout(connect, waitMs(failures++, Math.random()))
  }

  // Without a network the socket looks open for minutes; with one again there is no wait to sit out.
  function onOffline(): void {
    listener.onStatus(false)
  }

  function stop(): void {
    abandon()
    window.removeEventListener('online', connect)
    window.removeEventListener('offline', onOffline)
    listener.onStatus(false)
  }

  window.addEventListener('online', connect)
  window.addEventListener('offline', onOffline)
  connect()
  return stop
}
