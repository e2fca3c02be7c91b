import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Refused, serve } from '@/testing/server'
import { useSession } from './session'

beforeEach(() => {
  setActivePinia(createPinia())
  localStorage.clear()
})
afterEach(() => {
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
})

/** What the browser tells a tab of what another one kept. */
function elsewhere(newValue: string | null): void {
  window.dispatchEvent(new StorageEvent('storage', { key: 'session-of', newValue }))
}

async function signedIn() {
  serve({
    'GET /api/v1/me': () => ({ person: { personId: 'person-1', name: '', rights: [] }, tenantName: '' }),
  })
  const session = useSession()
  await session.restore()
  return session
}

test('a tab goes away when another person signs in beside it', async () => {
  const leave = vi.spyOn(window.location, 'assign').mockImplementation(() => undefined)
  await signedIn()
  elsewhere('person-1')
  expect(leave).not.toHaveBeenCalled()
  elsewhere('person-2')
  expect(leave).toHaveBeenCalledWith('/')
})

test('a tab is covered when its person signs out beside it, until the person is back', async () => {
  const session = await signedIn()
  elsewhere(null)
  expect(session.ended).toBe(true)
  elsewhere('person-1')
  expect(session.ended).toBe(false)
})

test('a tab tells the others whose session it found', async () => {
  const session = await signedIn()
  expect(localStorage.getItem('session-of')).toBe('person-1')
  serve({ 'GET /api/v1/me': () => new Refused(401, { message: '请重新登录' }) })
  await session.restore()
  expect(localStorage.getItem('session-of')).toBeNull()
})
