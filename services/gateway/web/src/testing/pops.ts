import type { Pop } from '@/api/types'

/** A ringing pop of an unknown caller, with changes. */
export function aPop(changes: Partial<Pop> = {}): Pop {
  return {
    popId: 'pop-1',
    callId: 'call-1',
    personId: 'person-1',
    extension: '8001',
    state: 'POP_STATE_RINGING',
    version: '1',
    number: '+8613800138000',
    did: '4000',
    queue: 'sales',
    callers: [],
    lookedUp: true,
    answeredById: '',
    answeredByName: '',
    ringTime: '2026-01-05T08:00:00Z',
    ...changes,
  }
}
