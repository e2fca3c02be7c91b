// Which fields a quote has, by its terms of delivery (F94); the server refuses any other.
import type { QuoteMode } from '@/api/types'

export type DeliveryField = 'portOfLoading' | 'portOfDestination' | 'freight' | 'insurance'

export const MODES = ['QUOTE_MODE_FOB', 'QUOTE_MODE_CFR', 'QUOTE_MODE_CIF'] as const satisfies QuoteMode[]
export type Mode = (typeof MODES)[number]

export const FIELDS: Record<Mode, DeliveryField[]> = {
  QUOTE_MODE_FOB: ['portOfLoading'],
  QUOTE_MODE_CFR: ['portOfLoading', 'portOfDestination', 'freight'],
  QUOTE_MODE_CIF: ['portOfLoading', 'portOfDestination', 'freight', 'insurance'],
}

/** FOB, CFR or CIF. */
export function short(mode: QuoteMode): string {
  return mode.split('_').at(-1) ?? ''
}

/** Of what was typed, what the mode has; the rest is empty. */
export function delivered(mode: Mode, form: Record<DeliveryField, string>): Record<DeliveryField, string> {
  const kept = (field: DeliveryField) => (FIELDS[mode].includes(field) ? form[field] : '')
  return {
    portOfLoading: kept('portOfLoading'),
    portOfDestination: kept('portOfDestination'),
    freight: kept('freight'),
    insurance: kept('insurance'),
  }
}

/** What a new quote begins with. */
export interface Offer {
  title: string
  customerId: string
  customerName: string
}

/** What a page's address asks to quote; '' for what it does not say. */
export function offered(query: Record<string, unknown>): Offer {
  const text = (name: keyof Offer) => (typeof query[name] === 'string' ? query[name] : '')
  return { title: text('title'), customerId: text('customerId'), customerName: text('customerName') }
}
