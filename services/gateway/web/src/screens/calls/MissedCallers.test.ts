import { enableAutoUnmount, flushPromises, mount, RouterLinkStub } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { i18n } from '@/i18n'
import { useSession } from '@/stores/session'
import { serve } from '@/testing/server'
import MissedCallers from './MissedCallers.vue'

const MISSED = {
  missedCallerId: 'missed-1',
  number: '+8613800138000',
  callId: 'call-1',
  customerId: '',
  ownerId: '',
  callCount: 1,
}

beforeEach(() => {
  setActivePinia(createPinia())
  useSession().person = { personId: 'person-1', name: '张伟', rights: ['calls.agent'] } as never
})
enableAutoUnmount(afterEach)
afterEach(() => vi.unstubAllGlobals())

test('who clicks twice calls back once, and nothing moves under the pointer', async () => {
  let state = 'QUEUED'
  const order = () => ({ order: { pbxOrderId: 'o', reason: '', state: `PBX_ORDER_STATE_${state}` } })
  const asked = serve({
    'GET /api/v1/missedCallers': () => ({ missedCallers: [MISSED], nextPageToken: '' }),
    'POST /api/v1/missedCallers/missed-1:callBack': order,
    'GET /api/v1/pbxOrders/o': order,
  })
  const screen = mount(MissedCallers, {
    global: { plugins: [i18n], stubs: { RouterLink: RouterLinkStub } },
  })
  await flushPromises()
  const button = screen.get('[data-testid="missed-call-back"]')
  const before = button.element.innerHTML
  await button.trigger('click')
  await button.trigger('click')
  await flushPromises()
  expect(button.attributes()).toHaveProperty('disabled')
  expect(button.element.innerHTML).toBe(before)
  expect(asked.filter((one) => one.method === 'POST')).toHaveLength(1)
  state = 'ACCEPTED'
  await vi.waitUntil(() => !('disabled' in button.attributes()))
})
