import { flushPromises, mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { defineComponent } from 'vue'
import { Refused, serve } from '@/testing/server'
import { useNewCustomer, type Company, type NewCustomer } from './useNewCustomer'

const CODE = '91310000MA1FL0X00B'
const COMPANY = { name: '上海示例云帆信息技术有限公司', creditCode: CODE } as Company

beforeEach(() => setActivePinia(createPinia()))
afterEach(() => {
  vi.unstubAllGlobals()
  document.body.replaceChildren()
})

async function begin(company: () => unknown) {
  const asked = serve({
    'GET /api/v1/fields': () => ({ fields: [] }),
    'GET /api/v1/customers:settings': () => ({ settings: {} }),
    'POST /api/v1/dedupe:checkDuplicates': () => ({ holders: [], similar: [] }),
    [`GET /api/v1/registry/companies/${CODE}`]: company,
    'POST /api/v1/customers': ({ body }) => ({ customer: body }),
  })
  let customer!: NewCustomer
  const page = mount(
    defineComponent({
      setup: () => ((customer = useNewCustomer()), () => null),
    }),
  )
  await flushPromises()
  const sent = (path: string) => asked.filter((one) => one.path === path).map(({ body }) => body)
  return { customer, page, sent }
}

test('what the register knows of a company is filled in and sent, its credit code too', async () => {
  const known = {
    ...COMPANY,
    legalPerson: '陈云帆',
    address: '张江路1号',
    region: '上海',
    businessType: '软件',
  }
  const { customer, page, sent } = await begin(() => ({ company: known }))
  customer.form.address = '已填写的地址'
  await customer.fillIn(COMPANY)
  await customer.save()
  expect(sent('/api/v1/customers')).toMatchObject([
    {
      name: COMPANY.name,
      creditCode: CODE,
      address: '已填写的地址',
      region: '上海',
      businessType: '软件',
      contacts: [{ name: '陈云帆' }],
    },
  ])
  expect(sent('/api/v1/dedupe:checkDuplicates').at(-1)).toMatchObject({ creditCode: CODE })
  page.unmount()
})

test('the credit code of the chosen company is kept when the register is away', async () => {
  const { customer, page, sent } = await begin(() => new Refused(503, { message: '工商服务暂不可用' }))
  await customer.fillIn(COMPANY)
  await customer.save()
  expect(sent('/api/v1/customers')).toMatchObject([{ name: COMPANY.name, creditCode: CODE }])
  page.unmount()
})
