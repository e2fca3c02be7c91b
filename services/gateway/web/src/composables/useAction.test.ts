import { afterEach, expect, test } from 'vitest'
import { nextTick } from 'vue'
import { ApiError } from '@/api/errors'
import { useAction } from './useAction'

afterEach(() => document.body.replaceChildren())

function messages(): string[] {
  return [...document.querySelectorAll('.el-message')].map((one) => one.textContent ?? '')
}

test('the same input after an uncertain outcome goes out under the same id', async () => {
  const ids: string[] = []
  const outcomes = [
    new ApiError('lost', 0, 'NO_ANSWER'),
    new ApiError('down', 503, 'UNAVAILABLE'),
    undefined,
    undefined,
  ]
  const { run } = useAction(async (requestId: string, text: string) => {
    ids.push(requestId)
    const outcome = outcomes[ids.length - 1]
    if (outcome) throw outcome
    return text
  })
  for (let i = 0; i < 4; i++) await run('same')
  expect(ids[1]).toBe(ids[0])
  expect(ids[2]).toBe(ids[0])
  expect(ids[3]).not.toBe(ids[0])
})

test.each([
  ['changed input', 0, ['first', 'second']],
  ['a definite refusal', 409, ['same', 'same']],
])('%s goes out under a new id', async (_, status, inputs) => {
  const ids: string[] = []
  const { run } = useAction(async (requestId: string, text: string) => {
    ids.push(requestId)
    throw new ApiError(text, status, '')
  })
  for (const input of inputs) await run(input)
  expect(new Set(ids).size).toBe(2)
})

test('an error of a field of the form stays at the form', async () => {
  const { run, fieldError } = useAction(async () => {
    throw new ApiError('参数不正确', 400, '', [{ field: 'person.mobile', message: '号码不正确' }])
  }, ['mobile'])
  expect(await run()).toBeUndefined()
  await nextTick()
  expect(fieldError('mobile')).toBe('号码不正确')
  expect(messages()).toEqual([])
})

test('any other error becomes a message', async () => {
  const { run } = useAction(async () => {
    throw new ApiError('该客户已被领取', 409, 'ALREADY_OWNED', [{ field: 'customer_id', message: '' }])
  }, ['mobile'])
  await run()
  await nextTick()
  expect(messages()).toEqual(['该客户已被领取'])
})

test('a second press while the first is under way does nothing', async () => {
  let calls = 0
  let finish = () => {}
  const { run, busy } = useAction(async () => {
    calls++
    await new Promise<void>((resolve) => (finish = resolve))
    return {}
  })
  const first = run()
  expect(busy.value).toBe(true)
  await run()
  finish()
  await first
  expect(calls).toBe(1)
  expect(busy.value).toBe(false)
})
