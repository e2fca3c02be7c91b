import { enableAutoUnmount, flushPromises, mount, RouterLinkStub } from '@vue/test-utils'
import { ElSelect } from 'element-plus'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { nextTick } from 'vue'
import type { Pop } from '@/api/types'
import { i18n } from '@/i18n'
import { usePops } from '@/stores/pops'
import { useSession } from '@/stores/session'
import { aPop } from '@/testing/pops'
import { Refused, serve } from '@/testing/server'
import PopCard from './PopCard.vue'
import PopOutcome from './PopOutcome.vue'

const CUSTOMER = {
  customerId: 'customer-1',
  name: '上海恒信机电设备有限公司',
  state: 'CUSTOMER_STATE_ACTIVE',
  ownerId: '',
  level: 'A',
  region: '上海',
  contacts: [],
  phones: [],
  allowedActions: ['follow'],
}
const CALLER = {
  customerId: 'customer-1',
  customerName: CUSTOMER.name,
  contactId: '',
  contactName: '周建国',
  ownerId: '',
  reasons: ['exact_number'],
  leadId: '',
}
const READS = {
  'GET /api/v1/calls/call-1': () => ({ call: { callId: 'call-1', customerId: '', note: '' } }),
  'GET /api/v1/customers:settings': () => ({ settings: { registrationRequired: false } }),
  'GET /api/v1/customers/customer-1': () => ({ customer: CUSTOMER }),
  'GET /api/v1/customers/customer-1/followUps': () => ({
    followUps: [{ followUpId: 'f', authorId: '', text: '要样品', createTime: '2026-01-01T00:00:00Z' }],
    nextPageToken: '',
  }),
  'POST /api/v1/dedupe:check': () => ({ unique: true, holders: [] }),
}

beforeEach(() => {
  setActivePinia(createPinia())
  sessionStorage.clear()
  const rights = ['customers.create', 'customers.view', 'calls.view', 'calls.agent']
  useSession().person = { personId: 'person-1', name: '张伟', rights } as never
})
// What a card still means to ask must not reach the server of the next test.
enableAutoUnmount(afterEach)
afterEach(() => vi.unstubAllGlobals())

async function show(pop: Pop) {
  usePops().apply(pop)
  const card = mount(PopCard, {
    props: { pop, collapsed: false },
    global: { plugins: [i18n], stubs: { RouterLink: RouterLinkStub } },
    attachTo: document.body,
  })
  await flushPromises()
  const get = (testid: string) => card.find(`[data-testid="${testid}"]`)
  return { card, get }
}

test('a known caller shows the customer, what is known of it and the last follow-up', async () => {
  serve(READS)
  const { get } = await show(aPop({ callers: [CALLER] }))
  expect(get('pop-customer-name').text()).toBe(CUSTOMER.name)
  expect(get('pop-number').text()).toBe('13800138000')
  expect(get('pop-state').text()).toBe('振铃中')
  expect(get('pop-contact').text()).toBe('周建国')
  expect(get('pop-follow-ups').text()).toContain('要样品')
  expect(get('pop-new-record').exists()).toBe(false)
})

test('a caller out of the agent’s sight still has a name', async () => {
  const hidden = () => new Refused(403, { message: '无权查看' })
  const path = 'GET /api/v1/customers/customer-1'
  serve({ ...READS, [path]: hidden, [`${path}/followUps`]: hidden })
  const { get } = await show(aPop({ callers: [CALLER] }))
  expect(get('pop-customer-name').text()).toBe(CUSTOMER.name)
})

test('an unknown number is in the new customer’s form, which is created and then linked', async () => {
  const asked = serve({
    ...READS,
    'POST /api/v1/customers': () => ({ customer: CUSTOMER }),
    'POST /api/v1/calls/call-1:link': () => ({ call: {} }),
  })
  const { get } = await show(aPop())
  expect((get('pop-new-phone').element as HTMLInputElement).value).toBe('+8613800138000')
  await get('pop-new-name').setValue('新客户')
  await get('pop-new-submit').trigger('submit')
  await flushPromises()
  // A slow machine looks for similar names before the form is gone.
  const posts = asked.filter((one) => one.method === 'POST' && !one.path.endsWith(':checkDuplicates'))
  expect(posts.map((one) => one.path)).toEqual(['/api/v1/customers', '/api/v1/calls/call-1:link'])
  expect(posts[0]?.body).toMatchObject({ name: '新客户', phones: [{ number: '+8613800138000' }] })
  expect(posts[1]?.body).toMatchObject({ customerId: 'customer-1' })
  expect(get('pop-linked').exists()).toBe(true)
})

test('no new customer is offered before it is known that the number is nobody’s', async () => {
  serve(READS)
  const { card, get } = await show(aPop({ lookedUp: false, number: '+86138****8000' }))
  expect(get('pop-looking-up').text()).toBe('正在识别来电…')
  expect(get('pop-new-record').exists()).toBe(false)
  await card.setProps({ pop: aPop({ version: '2' }) })
  await flushPromises()
  expect(get('pop-looking-up').exists()).toBe(false)
  expect((get('pop-new-phone').element as HTMLInputElement).value).toBe('+8613800138000')
})

test('a link that failed is tried again without a second customer', async () => {
  let links = 0
  const asked = serve({
    ...READS,
    'POST /api/v1/customers': () => ({ customer: CUSTOMER }),
    'POST /api/v1/calls/call-1:link': () =>
      links++ ? { call: {} } : new Refused(503, { message: '稍后再试' }),
  })
  const { get } = await show(aPop())
  await get('pop-new-name').setValue('新客户')
  for (let i = 0; i < 2; i++) {
    await get('pop-new-submit').trigger('submit')
    await flushPromises()
  }
  expect(asked.filter((one) => one.path === '/api/v1/customers')).toHaveLength(1)
  expect(links).toBe(2)
})

test('of several candidates the picked one becomes the call’s', async () => {
  const other = { ...CALLER, customerId: 'customer-2', customerName: '另一家' }
  const asked = serve({ ...READS, 'POST /api/v1/calls/call-1:link': () => ({ call: {} }) })
  const { get } = await show(aPop({ callers: [CALLER, other] }))
  await get('pop-pick').trigger('click')
  await flushPromises()
  expect(asked.find((one) => one.method === 'POST')?.body).toMatchObject({ customerId: 'customer-2' })
  expect(get('pop-customer-name').text()).toBe('另一家')
})

test('a note is kept through a reload until it is saved, with a follow-up where wished', async () => {
  const asked = serve({
    ...READS,
    'POST /api/v1/calls/call-1:note': () => ({ call: {} }),
    'POST /api/v1/customers/customer-1/followUps': () => ({ followUp: {} }),
  })
  const before = await show(aPop({ callers: [CALLER] }))
  await before.get('pop-note').setValue('下周二看样机')
  await flushPromises()
  before.card.unmount()
  const { get } = await show(aPop({ callers: [CALLER] }))
  expect((get('pop-note').element as HTMLTextAreaElement).value).toBe('下周二看样机')
  await get('pop-note-follow').find('input').setValue(true)
  await get('pop-note-save').trigger('click')
  await flushPromises()
  const posts = asked.filter((one) => one.method === 'POST')
  expect(posts.map((one) => one.body)).toMatchObject([{ note: '下周二看样机' }, { text: '下周二看样机' }])
  expect(sessionStorage.length).toBe(0)
})

test('who else answered is said, and closing asks the server nothing', async () => {
  const asked = serve(READS)
  const { card, get } = await show(aPop({ callers: [CALLER] }))
  const withdrawn = aPop({
    version: '2',
    state: 'POP_STATE_WITHDRAWN',
    answeredByName: '李婷',
    callers: [CALLER],
  })
  usePops().apply(withdrawn)
  await card.setProps({ pop: withdrawn })
  expect(get('pop-answered-by').text()).toBe('已由 李婷 接听')
  await get('pop-close').trigger('click')
  await nextTick()
  expect(usePops().list).toEqual([])
  expect(asked.filter((one) => one.method === 'POST')).toEqual([])
})

test('after the hang-up the agent closes the card', async () => {
  const pop = aPop({ state: 'POP_STATE_WRAP_UP', callers: [CALLER] })
  const asked = serve({ ...READS, 'POST /api/v1/pops/pop-1:close': () => ({ pop }) })
  const { get } = await show(pop)
  await get('pop-close').trigger('click')
  await flushPromises()
  expect(asked.filter((one) => one.method === 'POST').map((one) => one.path)).toEqual([
    '/api/v1/pops/pop-1:close',
  ])
  expect(usePops().list).toEqual([])
})

const OVER = aPop({ state: 'POP_STATE_WRAP_UP', answeredById: 'person-1', callers: [CALLER] })

async function dispose(card: Awaited<ReturnType<typeof show>>['card']): Promise<void> {
  card.getComponent(PopOutcome).getComponent(ElSelect).vm.$emit('update:modelValue', '有意向')
  await flushPromises()
}

test('a disposition closes the card: the note that was typed is kept before it', async () => {
  const asked = serve({
    ...READS,
    'POST /api/v1/calls/call-1:note': () => ({ call: {} }),
    'POST /api/v1/calls/call-1:dispose': () => ({ agent: { state: 'AGENT_STATE_IDLE' } }),
  })
  const { card, get } = await show(OVER)
  await get('pop-note').setValue('已报价')
  await dispose(card)
  const posts = asked.filter((one) => one.method === 'POST')
  expect(posts.map((one) => one.path)).toEqual(['/api/v1/calls/call-1:note', '/api/v1/calls/call-1:dispose'])
  expect(posts[0]?.body).toMatchObject({ note: '已报价' })
})

test('a note that could not be kept keeps the card open', async () => {
  const asked = serve({
    ...READS,
    'POST /api/v1/calls/call-1:note': () => new Refused(503, { message: '稍后再试' }),
  })
  const { card, get } = await show(OVER)
  await get('pop-note').setValue('已报价')
  await dispose(card)
  expect(asked.at(-1)?.path).toBe('/api/v1/calls/call-1:note')
  // Nor does another page's closing take it away.
  usePops().apply({ ...OVER, version: '2', state: 'POP_STATE_CLOSED' })
  expect(usePops().list).toHaveLength(1)
})

test('what two write about one call is kept of both', async () => {
  let note = '先到的备注'
  const asked = serve({
    ...READS,
    'GET /api/v1/calls/call-1': () => ({ call: { callId: 'call-1', customerId: '', note } }),
    'POST /api/v1/calls/call-1:note': ({ body }) => {
      if (body['knownNote'] !== note) return new Refused(409, { reason: 'NOTE_CHANGED', message: '已被修改' })
      note = String(body['note'])
      return { call: {} }
    },
  })
  const { get } = await show(OVER)
  const written = () => (get('pop-note').element as HTMLTextAreaElement).value
  expect(written()).toBe('先到的备注')
  note = '同事的备注'
  await get('pop-note').setValue('先到的备注，补充')
  for (let i = 0; i < 2; i++) {
    await get('pop-note-save').trigger('click')
    await flushPromises()
  }
  expect(note).toBe('同事的备注\n先到的备注，补充')
  expect(asked.filter((one) => one.method === 'POST')).toHaveLength(2)
  expect(sessionStorage.length).toBe(0)
})

test('a form that was begun is there again behind another call, and goes when it is stored', async () => {
  serve({
    ...READS,
    'POST /api/v1/customers': () => ({ customer: CUSTOMER }),
    'POST /api/v1/calls/call-1:link': () => ({ call: {} }),
  })
  const before = await show(aPop())
  await before.get('pop-new-name').setValue('新客户')
  await flushPromises()
  before.card.unmount()
  const { get } = await show(aPop())
  expect((get('pop-new-name').element as HTMLInputElement).value).toBe('新客户')
  await get('pop-new-submit').trigger('submit')
  await flushPromises()
  expect(sessionStorage.length).toBe(0)
})

test('the recording is said to be silent once the PBX has taken the order, through a reload, and not where it did not', async () => {
  const states = ['SENDING', 'ACCEPTED', 'FAILED']
  const order = () => ({
    order: { pbxOrderId: 'o', callId: '', reason: '', state: `PBX_ORDER_STATE_${states.shift()}` },
  })
  serve({
    ...READS,
    'POST /api/v1/calls/call-1:pauseRecording': () => ({
      order: { pbxOrderId: 'o', callId: '', reason: '', state: 'PBX_ORDER_STATE_QUEUED' },
    }),
    'GET /api/v1/pbxOrders/o': order,
  })
  const pop = aPop({ state: 'POP_STATE_TALKING', callers: [CALLER] })
  const { card, get } = await show(pop)
  const paused = () => get('pop-pause').attributes('data-paused')
  await get('pop-pause').trigger('click')
  await vi.waitUntil(() => states.length === 2)
  expect(paused()).toBe('false')
  await vi.waitUntil(() => paused() === 'true')
  await get('pop-pause').trigger('click')
  await vi.waitUntil(() => !states.length)
  await flushPromises()
  expect(paused()).toBe('true')
  card.unmount()
  const again = await show(pop)
  expect(again.get('pop-pause').attributes('data-paused')).toBe('true')
  await again.card.setProps({ pop: { ...pop, version: '2', state: 'POP_STATE_WRAP_UP' } })
  expect(sessionStorage.length).toBe(0)
})
