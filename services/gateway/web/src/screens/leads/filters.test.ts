import { expect, it } from 'vitest'
import { noFilters, outcomeOf, queryOf } from './filters'

it('leaves out what asks nothing', () => {
  expect(queryOf(noFilters())).toEqual({})
  expect(
    queryOf({
      ...noFilters(),
      idleDays: 7,
      progress: 'LEAD_PROGRESS_FOLLOWED',
      orderState: 'ORDER_STATE_APPROVED',
    }),
  ).toEqual({ idleDays: 7, progress: 'LEAD_PROGRESS_FOLLOWED', orderState: 'ORDER_STATE_APPROVED' })
})

it('says of a lead what came of it last', () => {
  const nothing = {
    orderState: 'ORDER_STATE_UNSPECIFIED',
    opportunityState: 'OPPORTUNITY_STATE_UNSPECIFIED',
  } as const
  expect(outcomeOf(nothing)).toBe('')
  expect(outcomeOf({ ...nothing, opportunityState: 'OPPORTUNITY_STATE_WON' })).toBe('OPPORTUNITY_STATE_WON')
  expect(outcomeOf({ orderState: 'ORDER_STATE_APPROVED', opportunityState: 'OPPORTUNITY_STATE_WON' })).toBe(
    'ORDER_STATE_APPROVED',
  )
})
