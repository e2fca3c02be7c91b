// What a list of leads is narrowed by (F133).
import type { Lead, LeadState, OpportunityState, OrderState } from '@/api/types'

export const LEAD_STATES = [
  'LEAD_STATE_UNASSIGNED',
  'LEAD_STATE_ASSIGNED',
  'LEAD_STATE_FOLLOWING',
  'LEAD_STATE_INVALID',
  'LEAD_STATE_CONVERTED',
  'LEAD_STATE_VOIDED',
] as const satisfies LeadState[]

export const OPPORTUNITY_STATES = [
  'OPPORTUNITY_STATE_OPEN',
  'OPPORTUNITY_STATE_WON',
  'OPPORTUNITY_STATE_LOST',
] as const satisfies OpportunityState[]

export const ORDER_STATES = [
  'ORDER_STATE_GENERATED',
  'ORDER_STATE_ACCEPTED',
  'ORDER_STATE_SUBMITTED',
  'ORDER_STATE_APPROVED',
  'ORDER_STATE_REJECTED',
  'ORDER_STATE_CLOSED',
] as const satisfies OrderState[]

/** Filters besides the state; '' and 0 ask nothing. */
export interface LeadFilters {
  ownerId: string
  progress: '' | 'LEAD_PROGRESS_NOT_FOLLOWED' | 'LEAD_PROGRESS_FOLLOWED'
  idleDays: number
  opportunityState: '' | OpportunityState
  orderState: '' | OrderState
  poolId: string
}

export function noFilters(): LeadFilters {
  return { ownerId: '', progress: '', idleDays: 0, opportunityState: '', orderState: '', poolId: '' }
}

/** The filters as the API's query: what asks nothing is left out. */
export function queryOf(filters: LeadFilters) {
  const { ownerId, progress, idleDays, opportunityState, orderState, poolId } = filters
  return {
    ...(ownerId && { ownerId }),
    ...(progress && { progress }),
    ...(idleDays && { idleDays }),
    ...(opportunityState && { opportunityState }),
    ...(orderState && { orderState }),
    ...(poolId && { poolId }),
  }
}

/** The state of what came of a lead: of its order, or else of its opportunity; '' for nothing. */
export function outcomeOf(lead: Pick<Lead, 'orderState' | 'opportunityState'>): string {
  return [lead.orderState, lead.opportunityState].find((state) => !state.endsWith('_UNSPECIFIED')) ?? ''
}
