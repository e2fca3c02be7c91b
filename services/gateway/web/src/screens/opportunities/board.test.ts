import { expect, it } from 'vitest'
import type { Opportunity, OpportunityStage } from '@/api/types'
import { columnsOf, span, sum } from './board'

it('adds amounts up to the cent, however large', () => {
  expect(sum([])).toBe('0.00')
  expect(sum(['0.10', '0.20'])).toBe('0.30')
  expect(sum(['999999999999.99', '0.01'])).toBe('1000000000000.00')
  expect(sum(['5', '0.5'])).toBe('5.50')
})

it('puts each into its stage, and one of before there were stages into the first', () => {
  const stages = [{ stageId: 'a' }, { stageId: 'b' }] as OpportunityStage[]
  const opportunities = [
    { opportunityId: '1', stageId: 'b', amount: '1.00' },
    { opportunityId: '2', stageId: 'gone', amount: '2.00' },
  ] as Opportunity[]
  expect(columnsOf(stages, opportunities).map(({ cards, amount }) => [cards.length, amount])).toEqual([
    [1, '2.00'],
    [1, '1.00'],
  ])
})

it('tells a time in hours below a day and in minutes below an hour', () => {
  expect(span(119)).toEqual({ unit: 'minutes', n: 1 })
  expect(span(7200)).toEqual({ unit: 'hours', n: 2 })
  expect(span(3 * 86_400 + 5)).toEqual({ unit: 'days', n: 3 })
})
