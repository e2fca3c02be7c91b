// The duplicate check's screens: while a name is typed, the inbox of suspects, the review of pairs, projects.
import { flushPromises, mount, RouterLinkStub } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Component } from 'vue'
import { i18n } from '@/i18n'
import { useSession } from '@/stores/session'
import { Refused, serve } from '@/testing/server'
import NewCustomerDialog from '../customers/NewCustomerDialog.vue'
import ProjectsScreen from '../projects/ProjectsScreen.vue'
import SuspectsScreen from '../suspects/SuspectsScreen.vue'
import DuplicatesScreen from './DuplicatesScreen.vue'

const TIME = '2026-11-30T03:00:00Z'
const REASONS = [
  { field: 'name', weight: 9, text: '名称相似度 92%' },
  { field: 'region', weight: -5, text: '地区不同' },
]
const PROJECT = {
  projectId: 'project-1',
  state: 'PROJECT_STATE_OPEN',
  name: '天府光伏一期',
  siteAddress: '成都市高新区天府大道100号',
  scheme: '屋顶光伏',
  customerId: '',
  ownerId: 'person-2',
  createTime: TIME,
  closeReason: '',
  reservationId: 'reservation-1',
  version: '1',
}

beforeEach(() => {
  setActivePinia(createPinia())
  useSession().person = { personId: 'person-1', name: '张伟', rights: ['customers.create'] } as never
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
  document.body.innerHTML = ''
})

async function show(screen: Component, props = {}) {
  mount(screen, {
    props,
    global: { plugins: [i18n], stubs: { RouterLink: RouterLinkStub } },
    attachTo: document.body,
  })
  await flushPromises()
}

/** Dialogs are elsewhere in the page. */
function get(testid: string): HTMLElement {
  const found = document.querySelector<HTMLElement>(`[data-testid="${testid}"]`)
  if (!found) throw new Error(`no ${testid}`)
  return found
}

async function type(testid: string, text: string) {
  const found = get(testid)
  const field = found.matches('input, textarea') ? found : found.querySelector('input, textarea')
  Object.assign(field as HTMLInputElement, { value: text })
  field?.dispatchEvent(new Event('input', { bubbles: true }))
  await flushPromises()
}

const PEOPLE = { 'GET /api/v1/colleagues': () => ({ people: [] }) }

test('whom a name is like is shown while it is typed, after a pause, with the reasons', async () => {
  vi.useFakeTimers()
  const asked = serve({
    ...PEOPLE,
    'GET /api/v1/fields': () => ({ fields: [] }),
    'GET /api/v1/customers:settings': () => ({ settings: { registrationRequired: false } }),
    'POST /api/v1/dedupe:checkDuplicates': () => ({
      verdict: 'RULE_VERDICT_REVIEW',
      holders: [],
      similar: [
        {
          customerId: '',
          name: '成都****有限公司',
          holderName: '王**',
          verdict: 'MATCH_VERDICT_NEAR',
          score: 9,
          reasons: REASONS,
        },
      ],
    }),
  })
  await show(NewCustomerDialog, { modelValue: true })
  for (const text of ['成', '成都', '成都知品']) await type('customer-new-name', text)
  const checks = () => asked.filter((one) => one.path === '/api/v1/dedupe:checkDuplicates')
  expect(checks()).toHaveLength(0)
  await vi.advanceTimersByTimeAsync(400)
  await flushPromises()
  expect(checks().map((one) => one.body['name'])).toEqual(['成都知品'])
  expect(get('customer-new-similar').textContent).toContain('成都****有限公司')
  expect(get('customer-new-similar').textContent).toContain('名称相似度 92%')
})

test('a suspect shows who asked and which projects are like it, and is decided once', async () => {
  const suspect = {
    suspectId: 'suspect-1',
    dimension: 'DIMENSION_PROJECT',
    state: 'SUSPECT_STATE_OPEN',
    verdict: 'MATCH_VERDICT_NEAR',
    likeness: 0.9,
    surprise: 0,
    reason: '项目地址与方案相近',
    reasons: [],
    inquiries: [
      {
        inquiryId: 'inquiry-1',
        inquirerName: '王经理',
        companyName: '华通',
        phone: '+86138****8000',
        items: [{ product: '光伏组件', quantity: '20', specification: '' }],
        siteAddress: PROJECT.siteAddress,
        recorderId: 'person-1',
        createTime: TIME,
      },
    ],
    projects: [PROJECT],
    createTime: TIME,
  }
  const asked = serve({
    ...PEOPLE,
    'GET /api/v1/suspects': () => ({ suspects: [suspect], nextPageToken: '' }),
    'POST /api/v1/suspects/suspect-1:decide': () => ({ suspect }),
  })
  await show(SuspectsScreen)
  expect(get('suspect-inquiry').textContent).toContain('王经理')
  expect(get('suspect-project').textContent).toContain('天府光伏一期')
  get('suspect-confirm').click()
  await flushPromises()
  expect(asked.filter((one) => one.method === 'POST').map((one) => one.body['same'])).toEqual([true])
})

test('a pair of the review shows its reasons and is confirmed by its two customers', async () => {
  const pair = {
    customerId: 'customer-1',
    otherCustomerId: 'customer-2',
    state: 'DUPLICATE_STATE_OPEN',
    verdict: 'MATCH_VERDICT_NEAR',
    score: 9,
    reasons: REASONS,
  }
  const customers = ['成都知品科技有限公司', '知品科技'].map((name, place) => ({
    customerId: `customer-${place + 1}`,
    name,
  }))
  const asked = serve({
    ...PEOPLE,
    'GET /api/v1/dedupe/scans/newest': () => ({}),
    'GET /api/v1/dedupe/duplicates': () => ({
      groups: [{ groupId: 'customer-1', customers, pairs: [pair] }],
      nextPageToken: '',
    }),
    'POST /api/v1/dedupe/duplicates:decide': () => ({ pair }),
  })
  await show(DuplicatesScreen)
  expect(get('duplicate-pair').textContent).toContain('成都知品科技有限公司')
  expect(get('duplicate-pair').textContent).toContain('地区不同')
  get('duplicate-confirm').click()
  await flushPromises()
  expect(asked.find((one) => one.method === 'POST')?.body).toMatchObject({
    customerId: 'customer-1',
    otherCustomerId: 'customer-2',
    same: true,
  })
})

test('a project is registered, or refused with who has it; it is closed with a reason', async () => {
  const answers: unknown[] = [
    new Refused(409, { reason: 'KEY_HELD', message: '项目已被 王** 占用' }),
    { project: PROJECT, suspectIds: [] },
  ]
  const asked = serve({
    ...PEOPLE,
    'GET /api/v1/projects': () => ({ projects: [PROJECT], nextPageToken: '' }),
    'POST /api/v1/projects': () => answers.shift(),
    'POST /api/v1/projects/project-1:close': () => ({ project: PROJECT }),
  })
  await show(ProjectsScreen)
  expect(get('projects-row').textContent).toContain('天府光伏一期')
  get('project-register').click()
  await flushPromises()
  await type('project-name', '天府光伏 一期')
  await type('project-site', PROJECT.siteAddress)
  await type('project-scheme', '屋顶光伏')
  const form = get('project-form')
  for (let times = 0; times < 2; times++) {
    form.dispatchEvent(new Event('submit', { cancelable: true }))
    await flushPromises()
  }
  const posts = asked.filter((one) => one.path === '/api/v1/projects' && one.method === 'POST')
  expect(posts.map((one) => one.body['name'])).toEqual(['天府光伏 一期', '天府光伏 一期'])
  expect(document.body.textContent).toContain('项目已被 王** 占用')
  get('project-close').click()
  await flushPromises()
  await type('project-reason', '已签约')
  get('project-closing').dispatchEvent(new Event('submit', { cancelable: true }))
  await flushPromises()
  expect(asked.find((one) => one.path.endsWith(':close'))?.body['reason']).toBe('已签约')
})
