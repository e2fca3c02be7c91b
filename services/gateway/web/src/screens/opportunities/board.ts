// Opportunities by stage, as the board shows them.
import type { Opportunity, OpportunityStage } from '@/api/types'

/** Amounts in cents, so that sums are exact. */
function cents(amount: string): bigint {
  const [whole = '0', part = ''] = amount.split('.')
  return BigInt(whole + part.padEnd(2, '0').slice(0, 2))
}

/** The sum of amounts, with two decimals. */
export function sum(amounts: string[]): string {
  const total = amounts.reduce((before, amount) => before + cents(amount), 0n)
  const text = total.toString().padStart(3, '0')
  return `${text.slice(0, -2)}.${text.slice(-2)}`
}

/** The stages in order, each with its opportunities and their sum; one of an unknown stage is in the first. */
export function columnsOf(stages: OpportunityStage[], opportunities: Opportunity[]) {
  const known = new Set(stages.map((stage) => stage.stageId))
  return stages.map((stage, index) => {
    const cards = opportunities.filter(
      (one) => one.stageId === stage.stageId || (index === 0 && !known.has(one.stageId)),
    )
    return { stage, cards, amount: sum(cards.map((one) => one.amount)) }
  })
}

/** Whole days, hours below a day, or minutes below an hour, of a time in seconds. */
export function span(seconds: number): { unit: 'days' | 'hours' | 'minutes'; n: number } {
  if (seconds < 3600) return { unit: 'minutes', n: Math.floor(seconds / 60) }
  return seconds < 86_400
    ? { unit: 'hours', n: Math.floor(seconds / 3600) }
    : { unit: 'days', n: Math.floor(seconds / 86_400) }
}
