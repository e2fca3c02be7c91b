import { flushPromises, mount } from '@vue/test-utils'
import { afterEach, expect, test, vi } from 'vitest'
import { defineComponent } from 'vue'
import { i18n } from '@/i18n'
import { serve } from '@/testing/server'
import { useOwnFields, useOwnText } from './useOwnFields'

afterEach(() => vi.unstubAllGlobals())

const FIELD = { object: 'contract', required: false, choices: [], active: true }
const FIELDS = [
  { ...FIELD, key: 'phone', name: '电话', type: 'phone' },
  { ...FIELD, key: 'paid', name: '已付', type: 'boolean' },
  { ...FIELD, key: 'note', name: '备注', type: 'text' },
]

async function form(standing: { key: string; value: string }[]) {
  serve({ 'GET /api/v1/salesFields': () => ({ fields: FIELDS }) })
  let own: ReturnType<typeof useOwnFields> | undefined
  let text: ReturnType<typeof useOwnText> | undefined
  const page = mount(
    defineComponent({
      setup() {
        own = useOwnFields('contract', standing)
        text = useOwnText()
        return () => null
      },
    }),
    { global: { plugins: [i18n] } },
  )
  await flushPromises()
  if (!own || !text) throw new Error('not set up')
  return { own, text, page }
}

test('only what was changed is sent: a masked number that nobody touched stays as it is', async () => {
  const { own, page } = await form([
    { key: 'phone', value: '+86138****8000' },
    { key: 'note', value: '旧' },
  ])
  expect(own.changed()).toEqual([])
  own.values.value = { ...own.values.value, note: '', paid: 'true' }
  expect(own.changed()).toEqual([
    { key: 'paid', value: 'true' },
    { key: 'note', value: '' },
  ])
  page.unmount()
})

test('a value is worded as people read it', async () => {
  const { own, text, page } = await form([])
  const [, paid, note] = own.fields.value
  if (!paid || !note) throw new Error('no fields')
  expect(text(paid, [{ key: 'paid', value: 'true' }])).toBe('是')
  expect(text(note, [])).toBe('')
  page.unmount()
})
