import type { RouteLocationRaw } from 'vue-router'
import type { Message } from '@/api/types'

/** Where a message's subject is shown; undefined when it is about nothing that has a page. */
export function subjectRoute({ subjectType, subjectId }: Message): RouteLocationRaw | undefined {
  const key = {
    approval: 'approvalId',
    order: 'orderId',
    customer: 'customerId',
    lead: 'leadId',
    bulk_sms: 'bulkSmsId',
    call: 'callId',
  }[subjectType]
  if (!key || !subjectId) return undefined
  const name = { customer: 'customer', bulk_sms: 'bulk' }[subjectType] ?? `${subjectType}s`
  return { name, params: { [key]: subjectId } }
}
