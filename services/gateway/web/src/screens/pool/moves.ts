// What is done with many customers at once, each with its own result.
import { answer, api } from '@/api/client'
import type { ItemResult } from '@/api/types'

export type Move = 'claim' | 'assign' | 'transfer' | 'trash' | 'restore'
export type NamedResult = ItemResult & { name: string }

/** What a move needs beside the customers. */
export interface MoveInput {
  customerIds: string[]
  personId: string
  reason: string
}

/** The contract takes no more claims at a time (F21), and no more customers of other moves. */
export const MOST_CLAIMS = 10
export const MOST_MOVES = 200

/** Ask for a move; what became of each customer. */
export async function move(requestId: string, kind: Move, input: MoveInput): Promise<ItemResult[]> {
  const { customerIds, personId, reason } = input
  const base = { requestId, customerIds }
  switch (kind) {
    case 'claim':
      return (await answer(api.POST('/api/v1/customers:claim', { body: base }))).results
    case 'assign':
      return (await answer(api.POST('/api/v1/customers:assign', { body: { ...base, personId } }))).results
    case 'transfer':
      return (await answer(api.POST('/api/v1/customers:transfer', { body: { ...base, personId, reason } })))
        .results
    case 'trash':
      return (await answer(api.POST('/api/v1/customers:trash', { body: { ...base, reason } }))).results
    case 'restore':
      return (await answer(api.POST('/api/v1/customers:restore', { body: base }))).results
  }
}

/** The results with the names of the rows that they are about. */
export function named(results: ItemResult[], rows: { customerId: string; name: string }[]): NamedResult[] {
  const names = new Map(rows.map((row) => [row.customerId, row.name]))
  return results.map((result) => ({ ...result, name: names.get(result.customerId) ?? '' }))
}
