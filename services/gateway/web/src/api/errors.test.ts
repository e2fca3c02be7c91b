import { expect, test } from 'vitest'
import { ApiError, messageOf, toApiError } from './errors'

const FALLBACK = 'unreadable'

test('an error body becomes an error with its reason and fields', () => {
  const fields = [{ field: 'phones[0].number', message: '电话号码格式不正确' }]
  const body = {
    error: { code: 'INVALID_ARGUMENT', reason: 'INVALID_PHONE', message: '参数不正确', metadata: {}, fields },
  }
  const error = toApiError(400, body, FALLBACK)
  expect(error).toMatchObject({ status: 400, reason: 'INVALID_PHONE', message: '参数不正确', fields })
})

test.each([undefined, '', '<html>', {}, { error: {} }])(
  'a body that is not the API’s gets the fallback: %j',
  (body) => {
    expect(toApiError(502, body, FALLBACK).message).toBe(FALLBACK)
  },
)

test('only a lost answer or a failed server leaves the outcome open', () => {
  expect(new ApiError('', 0, '').uncertain).toBe(true)
  expect(new ApiError('', 503, '').uncertain).toBe(true)
  expect(new ApiError('', 409, '').uncertain).toBe(false)
})

test.each([
  ['phones[0].number', 'phones'],
  ['phones[0].number', 'phones[0]'],
  ['phones.0.number', 'phones[0]'],
  ['contacts[0].phones[0].number', 'contacts[0].phones'],
  ['person.department_id', 'departmentId'],
  ['settings.default_rule.idle_days', 'idleDays'],
])('what is said about %s stands at the field %s', (said, field) => {
  expect(messageOf(new ApiError('', 400, '', [{ field: said, message: 'wrong' }]), field)).toBe('wrong')
})

test.each([
  ['phones[1].number', 'phones[0]'],
  ['contacts[0].name', 'phones'],
  ['contacts[0].name', 'name'],
  ['addresses.values[0].region', 'region'],
  ['name_long', 'name'],
])('what is said about %s does not stand at the field %s', (said, field) => {
  expect(messageOf(new ApiError('', 400, '', [{ field: said, message: 'wrong' }]), field)).toBe('')
})

test.each([
  ['shipTo', 'ship_to 最多500个字', '最多500个字'],
  ['contacts[0].name', 'contacts[0].name 含有无效字符', '含有无效字符'],
  ['region', '没有这个地区', '没有这个地区'],
])('what is said under the label of %s does not name it again: %s', (field, message, shown) => {
  expect(messageOf(new ApiError('', 400, '', [{ field, message }]), field)).toBe(shown)
})
