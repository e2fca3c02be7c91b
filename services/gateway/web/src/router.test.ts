import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, expect, test } from 'vitest'
import { router } from './router'
import { useSession } from './stores/session'

beforeEach(() => setActivePinia(createPinia()))

function signIn(rights: string[]): void {
  useSession().person = { personId: 'person-1', rights } as never
}

/** Where a visit to a path ends up, without loading its screen. */
async function visit(path: string): Promise<string> {
  await router.push(path)
  return router.currentRoute.value.fullPath
}

test('a stranger is asked to sign in, and comes back to where they wanted to go', async () => {
  expect(await visit('/orders')).toBe('/sign-in?next=/orders')
})

test('the first screen is the first one that the rights give', async () => {
  signIn(['orders.view'])
  expect(await visit('/')).toBe('/quotes')
})

test('a screen without its right is not opened', async () => {
  signIn(['orders.view'])
  expect(await visit('/settings')).toBe('/quotes')
})
