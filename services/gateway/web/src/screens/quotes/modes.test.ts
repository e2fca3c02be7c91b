import { expect, it } from 'vitest'
import { delivered, FIELDS, MODES, offered, short } from './modes'

const TYPED = { portOfLoading: '上海', portOfDestination: '汉堡', freight: '800', insurance: '50' }

it('sends only what the mode has, so that a change of mode is not refused', () => {
  expect(delivered('QUOTE_MODE_FOB', TYPED)).toEqual({
    portOfLoading: '上海',
    portOfDestination: '',
    freight: '',
    insurance: '',
  })
  expect(delivered('QUOTE_MODE_CIF', TYPED)).toEqual(TYPED)
})

it('adds fields from each mode to the next', () => {
  expect(MODES.map((mode) => [short(mode), FIELDS[mode].length])).toEqual([
    ['FOB', 1],
    ['CFR', 3],
    ['CIF', 4],
  ])
})

it('begins with what the address says', () => {
  expect(offered({ title: '采购', customerId: 'c', customerName: ['a', 'b'] })).toEqual({
    title: '采购',
    customerId: 'c',
    customerName: '',
  })
})
