// The customers that a conversion could link to, as its refusal names them.
import type { ApiError } from '@/api/errors'

export interface Candidate {
  customerId: string
  /** Its owner's name, masked. */
  holder: string
}

/** The candidates of a refusal, none for another one. */
export function candidatesOf(error: ApiError | undefined): Candidate[] {
  if (error?.reason !== 'CUSTOMER_AMBIGUOUS') return []
  const holders = (error.metadata['holders'] ?? '').split(',')
  return (error.metadata['candidates'] ?? '')
    .split(',')
    .filter(Boolean)
    .map((customerId, index) => ({ customerId, holder: holders[index] ?? '' }))
}
