import { afterEach, expect, test, vi } from 'vitest'
import { setLocale } from '@/i18n'
import { Refused, serve } from '@/testing/server'
import { answer, api, whenSessionEnds } from './client'
import { serverNow } from './clock'
import { newRequestId } from './requestId'

afterEach(() => {
  vi.unstubAllGlobals()
  setLocale('zh-CN')
})

test('a change carries the guard’s header and the reader’s language', async () => {
  setLocale('en')
  const asked = serve({ 'POST /api/v1/agent:signOff': () => ({}) })
  await answer(api.POST('/api/v1/agent:signOff', { body: { requestId: 'r' } }))
  expect(asked[0]?.headers.get('x-requested-with')).toBe('gonghai')
  expect(asked[0]?.headers.get('accept-language')).toBe('en')
})

test('a verb behind an id keeps its colon', async () => {
  const asked = serve({ 'POST /api/v1/orders/o-1:accept': () => ({}) })
  await answer(
    api.POST('/api/v1/orders/{orderId}:accept', {
      params: { path: { orderId: 'o-1' } },
      body: { requestId: 'r' },
    }),
  )
  expect(asked[0]?.path).toBe('/api/v1/orders/o-1:accept')
})

test('an unknown session is told before the error is thrown', async () => {
  let ended = false
  whenSessionEnds(() => (ended = true))
  serve({ 'GET /api/v1/me': () => new Refused(401, { reason: 'NO_SESSION', message: '请先登录' }) })
  await expect(answer(api.GET('/api/v1/me'))).rejects.toMatchObject({ status: 401, reason: 'NO_SESSION' })
  expect(ended).toBe(true)
})

test('no answer at all is an error without a status', async () => {
  serve({})
  await expect(answer(api.GET('/api/v1/me'))).rejects.toMatchObject({ status: 0, reason: 'NO_ANSWER' })
})

test('an answer without a body is an empty one', async () => {
  serve({ 'DELETE /api/v1/session': () => undefined })
  await expect(answer(api.DELETE('/api/v1/session'))).resolves.toEqual({})
})

test('time is the server’s', async () => {
  const date = new Date(Date.now() + 3_600_000).toUTCString()
  vi.stubGlobal('fetch', async () => Response.json({}, { headers: { date } }))
  await answer(api.GET('/api/v1/me'))
  expect(Math.abs(serverNow() - Date.parse(date))).toBeLessThan(5000)
})

test('request ids are UUIDs where crypto.randomUUID is missing, too', () => {
  const { getRandomValues } = crypto
  vi.stubGlobal('crypto', { getRandomValues: getRandomValues.bind(crypto) })
  expect(newRequestId()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(newRequestId()).not.toBe(newRequestId())
})
