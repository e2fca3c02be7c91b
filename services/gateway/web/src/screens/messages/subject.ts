import type { RouteLocationRaw } from 'vue-router'
import type { Message } from '@/api/types'

// What has a page of its own: the page's name and what its address calls the id.
const PAGES: Readonly<Record<string, readonly [name: string, id: string]>> = {
  approval: ['approvals', 'approvalId'],
  order: ['orders', 'orderId'],
  opportunity: ['opportunities', 'opportunityId'],
  customer: ['customer', 'customerId'],
  lead: ['leads', 'leadId'],
  call: ['calls', 'callId'],
  bulk_sms: ['bulk', 'bulkSmsId'],
}
// What stands in a list.
const LISTS: Readonly<Record<string, RouteLocationRaw>> = {
  bulk_mail: { name: 'bulk', query: { tab: 'mail' } },
  suspect: { name: 'suspects' },
}

/** Where a message's subject is shown; undefined when it is about nothing that has a page. */
export function subjectRoute({ subjectType, subjectId }: Message): RouteLocationRaw | undefined {
  const page = PAGES[subjectType]
  if (page && subjectId) return { name: page[0], params: { [page[1]]: subjectId } }
  return LISTS[subjectType]
}
