import { enableAutoUnmount, flushPromises, mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { answer, api, whenSessionEnds } from '@/api/client'
import { i18n } from '@/i18n'
import { useSession } from '@/stores/session'
import { Refused, serve } from '@/testing/server'
import SignInAgain from './SignInAgain.vue'

beforeEach(() => {
  setActivePinia(createPinia())
  useSession().person = { personId: 'person-1', name: '张伟', rights: [] } as never
  whenSessionEnds(() => useSession().end())
})
enableAutoUnmount(afterEach)
afterEach(() => vi.unstubAllGlobals())

async function signIn(personId: string) {
  serve({
    'GET /api/v1/colleagues': () => new Refused(401, { message: '请重新登录' }),
    'POST /api/v1/session': () => ({}),
    'GET /api/v1/me': () => ({ person: { personId, name: '', rights: [] }, tenantName: '' }),
  })
  await answer(api.GET('/api/v1/colleagues')).catch(() => undefined)
  expect(useSession().ended).toBe(true)
  expect(useSession().person?.personId).toBe('person-1')
  mount(SignInAgain, { global: { plugins: [i18n] }, attachTo: document.body })
  for (const field of ['tenant', 'login', 'password']) {
    const input = document.querySelector<HTMLInputElement>(`[data-testid="signin-${field}"]`)
    if (!input) throw new Error(`no ${field}`)
    input.value = field
    input.dispatchEvent(new Event('input'))
  }
  const leave = vi.spyOn(window.location, 'assign').mockImplementation(() => undefined)
  await flushPromises()
  document.querySelector('form')?.dispatchEvent(new Event('submit'))
  await flushPromises()
  return leave
}

test('who signs in again goes on where the session ended', async () => {
  const leave = await signIn('person-1')
  expect(useSession().ended).toBe(false)
  expect(leave).not.toHaveBeenCalled()
})

test('another person gets a page of their own', async () => {
  const leave = await signIn('person-2')
  expect(leave).toHaveBeenCalledWith('/')
  // Until it is there the old one stays covered.
  expect(useSession().ended).toBe(true)
})
