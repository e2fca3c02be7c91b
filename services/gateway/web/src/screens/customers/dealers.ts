// Dealers are customers that sell to others, found as customers are.
import { answer, api } from '@/api/client'
import type { CustomerView } from '@/api/types'

const DEALERS = '{"all":[{"field":"dealer","op":"eq","value":true}]}'

/** A page of the dealers of a view with this in their names. */
export async function findDealers(view: CustomerView, query = '', pageToken = '') {
  const params = { query: { view, query, filter: DEALERS, pageToken } }
  return answer(api.GET('/api/v1/customers', { params }))
}
