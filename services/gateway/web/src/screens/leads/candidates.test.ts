import { expect, it } from 'vitest'
import { ApiError } from '@/api/errors'
import { candidatesOf } from './candidates'

it('names each candidate with its owner, in the order of the refusal', () => {
  const metadata = { candidates: 'a,b', holders: '李*,' }
  expect(candidatesOf(new ApiError('several', 400, 'CUSTOMER_AMBIGUOUS', [], metadata))).toEqual([
    { customerId: 'a', holder: '李*' },
    { customerId: 'b', holder: '' },
  ])
})

it('knows none of another refusal', () => {
  expect(candidatesOf(undefined)).toEqual([])
  expect(candidatesOf(new ApiError('there', 409, 'CONTACT_EXISTS', [], { candidates: 'a' }))).toEqual([])
})
