// What a list of calls is narrowed to; empty: all.
import type { CallDirection, CallState } from '@/api/types'

export interface CallQuery {
  number: string
  personId: string
  state: CallState | ''
  direction: CallDirection | ''
  disposition: string
  fromTime: string
  untilTime: string
}

export const ALL_CALLS: CallQuery = {
  number: '',
  personId: '',
  state: '',
  direction: '',
  disposition: '',
  fromTime: '',
  untilTime: '',
}

/** The query without what is left open: the server reads strictly, and an empty time is none. */
export function narrowed(query: Partial<CallQuery>): Record<string, string> {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value))
}
