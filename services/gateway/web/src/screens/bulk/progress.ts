import type { BulkRecipientState, BulkSms } from '@/api/types'

// What nothing will change any more, but for a person's decision on an unknown outcome.
const SETTLED: BulkRecipientState[] = [
  'BULK_RECIPIENT_STATE_SENT',
  'BULK_RECIPIENT_STATE_DELIVERED',
  'BULK_RECIPIENT_STATE_FAILED',
  'BULK_RECIPIENT_STATE_UNCERTAIN',
  'BULK_RECIPIENT_STATE_SKIPPED',
]

/** How many get it, or got it. */
export function recipientsOf(bulk: Pick<BulkSms, 'recipients'>): number {
  return bulk.recipients.reduce((sum, { count }) => sum + count, 0)
}

/** Percent of the recipients that are settled. */
export function percentOf(bulk: Pick<BulkSms, 'recipients'>): number {
  const all = recipientsOf(bulk)
  const settled = bulk.recipients
    .filter(({ state }) => SETTLED.includes(state))
    .reduce((sum, { count }) => sum + count, 0)
  return all ? Math.floor((100 * settled) / all) : 0
}

/** A filter of what was filled in, as the list of customers takes it; empty for everybody. */
export function filterOf(level: string, region: string, saved: string): string {
  const all: unknown[] = []
  if (level) all.push({ field: 'level', op: 'eq', value: level })
  if (region) all.push({ field: 'region', op: 'contains', value: region })
  if (saved) all.push(JSON.parse(saved))
  if (!all.length) return ''
  return JSON.stringify(all.length === 1 ? all[0] : { all })
}
