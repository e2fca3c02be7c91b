import { expect, it } from 'vitest'
import { complete, typed } from './lines'

const LINE = { productId: 'p', quantity: '1.5', unitPrice: '' }

it('keeps of a line only what is typed', () => {
  expect(typed({ ...LINE, amount: '3.00' } as typeof LINE)).toEqual(LINE)
})

it('asks for a product and a quantity in every line', () => {
  expect(complete([LINE])).toBe(true)
  expect(complete([])).toBe(false)
  expect(complete([LINE, { ...LINE, productId: '' }])).toBe(false)
  expect(complete([{ ...LINE, quantity: '0' }])).toBe(false)
})
