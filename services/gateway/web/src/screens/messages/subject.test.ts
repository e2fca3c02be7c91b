import { expect, test } from 'vitest'
import type { Message } from '@/api/types'
import { subjectRoute } from './subject'

const about = (subjectType: string, subjectId = 'one') => subjectRoute({ subjectType, subjectId } as Message)

test('a message leads to what it is about', () => {
  expect(about('order')).toEqual({ name: 'orders', params: { orderId: 'one' } })
  expect(about('opportunity')).toEqual({ name: 'opportunities', params: { opportunityId: 'one' } })
  expect(about('bulk_sms')).toEqual({ name: 'bulk', params: { bulkSmsId: 'one' } })
})

test('a message about what stands in a list leads there', () => {
  expect(about('suspect')).toEqual({ name: 'suspects' })
  expect(about('bulk_mail')).toEqual({ name: 'bulk', query: { tab: 'mail' } })
})

test('a message about nothing that has a page leads nowhere', () => {
  expect(about('announcement')).toBeUndefined()
  expect(about('order', '')).toBeUndefined()
})
