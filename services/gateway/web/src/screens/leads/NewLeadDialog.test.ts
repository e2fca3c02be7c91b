import { flushPromises, mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { i18n } from '@/i18n'
import { useSession } from '@/stores/session'
import { Refused, serve } from '@/testing/server'
import NewLeadDialog from './NewLeadDialog.vue'

const FIELD = { object: 'lead', required: false, choices: [], active: true }
const FIELDS = [
  { ...FIELD, key: 'budget', name: '预算', type: 'amount', required: true },
  { ...FIELD, key: 'grade', name: '等级', type: 'choice', choices: ['A', 'B'] },
]
const POOL = { poolId: 'pool-1', own: true, name: '' }

beforeEach(() => {
  setActivePinia(createPinia())
  useSession().person = { personId: 'person-1', name: '张伟', rights: ['leads.create'] } as never
})
afterEach(() => {
  vi.unstubAllGlobals()
  document.body.replaceChildren()
})

async function show(answer: () => unknown, pools: object[] = [POOL]) {
  const asked = serve({
    'GET /api/v1/leadFields': () => ({ fields: FIELDS }),
    'GET /api/v1/leadPools': () => ({ pools }),
    'POST /api/v1/leads': answer,
  })
  const page = mount(NewLeadDialog, {
    props: { modelValue: true },
    global: { plugins: [i18n] },
    attachTo: document.body,
  })
  await flushPromises()
  const at = (testid: string) => document.querySelector<HTMLInputElement>(`[data-testid="${testid}"]`)
  async function type(testid: string, text: string): Promise<void> {
    const input = at(testid)
    if (!input) throw new Error(`no ${testid}`)
    input.value = text
    input.dispatchEvent(new Event('input'))
    await flushPromises()
  }
  async function save(): Promise<void> {
    at('lead-new-submit')?.click()
    await flushPromises()
  }
  return { asked, page, at, type, save }
}

test('a new lead takes along the tenant’s own fields that are filled in', async () => {
  const { asked, page, at, type, save } = await show(() => ({ lead: {} }))
  expect(at('lead-new-custom-grade')).not.toBeNull()
  expect(at('lead-new-custom-budget')?.inputMode).toBe('decimal')
  await type('lead-new-name', '韩梅梅')
  await type('lead-new-custom-budget', '12000')
  await save()
  const sent = asked.find((one) => one.method === 'POST')?.body
  expect(sent).toMatchObject({ name: '韩梅梅', fields: [{ key: 'budget', value: '12000' }] })
  expect(page.emitted('created')).toHaveLength(1)
  page.unmount()
})

test('what is missing of them is said at the field', async () => {
  const { page, type, save } = await show(
    () =>
      new Refused(400, {
        reason: 'FIELD_REQUIRED',
        message: '有误',
        fields: [{ field: 'fields.budget', message: '请填写预算' }],
      }),
  )
  await type('lead-new-name', '韩梅梅')
  await save()
  await vi.waitUntil(() => document.body.textContent?.includes('请填写预算'))
  expect(page.emitted('created')).toBeUndefined()
  page.unmount()
})

test('a pool is asked for only where there are several', async () => {
  const one = await show(() => ({ lead: {} }))
  expect(one.at('lead-new-pool')).toBeNull()
  one.page.unmount()
  const two = await show(() => ({ lead: {} }), [POOL, { poolId: 'pool-2', own: false, name: '展会' }])
  expect(two.at('lead-new-pool')).not.toBeNull()
  two.page.unmount()
})
