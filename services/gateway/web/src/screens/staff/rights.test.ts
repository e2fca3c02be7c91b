import { expect, test } from 'vitest'
import type { RightModule } from '@/api/types'
import { shareOf, withModule, withRight } from './rights'

const customers: RightModule = {
  module: 'customers',
  nameZh: '客户',
  nameEn: 'Customers',
  rights: [
    { right: 'customers.view', level: 'RIGHT_LEVEL_ENTRY', nameZh: '查看', nameEn: 'view' },
    { right: 'customers.claim', level: 'RIGHT_LEVEL_OPERATION', nameZh: '领取', nameEn: 'claim' },
  ],
}

test('a module is granted in whole, in part or not at all', () => {
  expect(shareOf(customers, ['orders.view'])).toBe('none')
  expect(shareOf(customers, ['customers.view'])).toBe('some')
  expect(shareOf(customers, ['customers.claim', 'customers.view'])).toBe('all')
})

test('a module switches all of its rights and no others', () => {
  expect(withModule(customers, ['orders.view'], true)).toEqual([
    'customers.claim',
    'customers.view',
    'orders.view',
  ])
  expect(withModule(customers, ['customers.claim', 'orders.view'], false)).toEqual(['orders.view'])
})

test('an operation brings the entry along and goes with it', () => {
  expect(withRight(customers, [], 'customers.claim', true)).toEqual(['customers.claim', 'customers.view'])
  expect(withRight(customers, ['customers.claim', 'customers.view'], 'customers.view', false)).toEqual([])
  expect(withRight(customers, ['customers.claim', 'customers.view'], 'customers.claim', false)).toEqual([
    'customers.view',
  ])
})
