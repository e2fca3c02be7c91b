import { flushPromises, mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { i18n } from '@/i18n'
import { useLive } from '@/stores/live'
import { useSession } from '@/stores/session'
import { Refused, serve } from '@/testing/server'
import AgentSwitch from './AgentSwitch.vue'

const SETTINGS = { breakReasons: ['用餐', '会议'], dispositions: ['有意向'], wrapUpSeconds: 30, version: '0' }

beforeEach(() => {
  setActivePinia(createPinia())
  useSession().person = { personId: 'person-1', name: '张伟', rights: ['calls.agent'] } as never
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
  document.body.replaceChildren()
})

async function show(begin: object, at = '1001') {
  let agent = begin
  let extension = at
  function elsewhere(seat: string, state: object): void {
    extension = seat
    agent = state
  }
  const asked = serve({
    'GET /api/v1/agent': () => ({ extension, ownExtension: '1001' }),
    'GET /api/v1/agent/state': () => (agent instanceof Refused ? agent : { agent }),
    'GET /api/v1/deskSettings': () => ({ settings: SETTINGS }),
    'POST /api/v1/agent:setState': ({ body }) => ({ agent: (agent = { ...body, callId: '' }) }),
  })
  const page = mount(AgentSwitch, { global: { plugins: [i18n] }, attachTo: document.body })
  await flushPromises()
  const button = page.find('[data-testid="agent"]')
  await button.trigger('click')
  await flushPromises()
  const chosen = () => asked.filter(({ method }) => method === 'POST').map(({ body }) => body)
  return { asked, chosen, button, elsewhere, page }
}

test('an agent goes on a break for one of the reasons, and the button says so', async () => {
  const { chosen, button, page } = await show({ state: 'AGENT_STATE_IDLE', reason: '' })
  expect(button.attributes('data-state')).toBe('AGENT_STATE_IDLE')
  const reasons = [...document.querySelectorAll('[data-testid="agent-break"]')]
  expect(reasons.map((one) => one.textContent?.trim())).toEqual(['小休 · 用餐', '小休 · 会议'])
  const [meal] = reasons
  meal?.querySelector('input')?.click()
  await flushPromises()
  expect(chosen()).toMatchObject([{ state: 'AGENT_STATE_BREAK', reason: '用餐' }])
  expect(button.attributes('data-state')).toBe('AGENT_STATE_BREAK')
  expect(button.text()).toContain('用餐')
  page.unmount()
})

test('the wrap-up counts down, and a choice ends it', async () => {
  const wrapUpEndTime = new Date(Date.now() + 25_000).toISOString()
  const { chosen, page } = await show({ state: 'AGENT_STATE_WRAP_UP', reason: '', wrapUpEndTime })
  expect(page.find('[data-testid="agent-countdown"]').text()).toMatch(/^0:2\d$/)
  const idle = await vi.waitUntil(() =>
    document.querySelector<HTMLInputElement>('[data-testid="agent-idle"] input'),
  )
  idle.click()
  await flushPromises()
  expect(chosen()).toMatchObject([{ state: 'AGENT_STATE_IDLE' }])
  expect(page.find('[data-testid="agent-countdown"]').exists()).toBe(false)
  page.unmount()
})

test('what happens elsewhere is told by the live socket', async () => {
  const { button, page, elsewhere } = await show({ state: 'AGENT_STATE_OFFLINE', reason: '' }, '')
  elsewhere('1001', { state: 'AGENT_STATE_BUSY', reason: '' })
  useLive().onEvent({ type: 'agent', seq: 2 })
  await flushPromises()
  expect(button.attributes('data-state')).toBe('AGENT_STATE_BUSY')
  expect(button.attributes('data-extension')).toBe('1001')
  // While the socket was down everything may have happened.
  elsewhere('', { state: 'AGENT_STATE_OFFLINE', reason: '' })
  useLive().onEvent({ type: 'snapshot', seq: 1, pops: [], unreadCount: 0 })
  await flushPromises()
  expect(button.attributes('data-state')).toBe('AGENT_STATE_OFFLINE')
  page.unmount()
})

test('a reading that got no answer is made again', async () => {
  const { button, page, elsewhere } = await show({ state: 'AGENT_STATE_IDLE', reason: '' })
  vi.useFakeTimers()
  elsewhere('1001', new Refused(503, { message: 'busy' }))
  useLive().onEvent({ type: 'agent', seq: 2 })
  await vi.advanceTimersByTimeAsync(0)
  elsewhere('1001', { state: 'AGENT_STATE_BUSY', reason: '' })
  await vi.runOnlyPendingTimersAsync()
  expect(button.attributes('data-state')).toBe('AGENT_STATE_BUSY')
  page.unmount()
})

test('the wrap-up is over when its time is, though the server thinks so a moment later', async () => {
  const wrapUpEndTime = new Date(Date.now() + 1500).toISOString()
  const { button, page, asked, elsewhere } = await show({
    state: 'AGENT_STATE_WRAP_UP',
    reason: '',
    wrapUpEndTime,
  })
  const read = asked.length
  await vi.waitUntil(() => asked.length > read, { timeout: 20_000 })
  elsewhere('1001', { state: 'AGENT_STATE_IDLE', reason: '' })
  await vi.waitUntil(() => button.attributes('data-state') === 'AGENT_STATE_IDLE', { timeout: 20_000 })
  page.unmount()
})

test('who is signed on nowhere is asked for the extension', async () => {
  const { button, page } = await show({ state: 'AGENT_STATE_OFFLINE', reason: '' }, '')
  expect(button.attributes('data-state')).toBe('AGENT_STATE_OFFLINE')
  expect(document.querySelector('[data-testid="agent-sign-on"]')).not.toBeNull()
  page.unmount()
})
