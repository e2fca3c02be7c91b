import { enableAutoUnmount, flushPromises, mount } from '@vue/test-utils'
import { ElDialog } from 'element-plus'
import { afterEach, expect, test } from 'vitest'
import { createMemoryHistory, createRouter } from 'vue-router'
import { i18n } from '@/i18n'
import FormDialog from './FormDialog.vue'

enableAutoUnmount(afterEach)
afterEach(() => document.body.replaceChildren())

test('what was typed goes neither by Escape nor by leaving the page, but by a word', async () => {
  const empty = { template: '<p />' }
  const router = createRouter({
    history: createMemoryHistory(),
    routes: ['/', '/next', '/last'].map((path) => ({ path, component: empty })),
  })
  await router.push('/')
  const dialog = mount(FormDialog, {
    props: { modelValue: true, title: '', testid: 'form' },
    slots: { default: '<input data-testid="field" />' },
    global: { plugins: [i18n, router] },
    attachTo: document.body,
  })
  await flushPromises()
  const escapes = () => dialog.getComponent(ElDialog).props('closeOnPressEscape')
  expect(escapes()).toBe(true)
  await router.push('/next')
  expect(router.currentRoute.value.path).toBe('/next')

  document.querySelector('[data-testid="field"]')?.dispatchEvent(new Event('input', { bubbles: true }))
  await flushPromises()
  expect(escapes()).toBe(false)
  const unload = new Event('beforeunload', { cancelable: true })
  window.dispatchEvent(unload)
  expect(unload.defaultPrevented).toBe(true)
  for (const [button, path] of [
    ['.el-button:not(.el-button--primary)', '/next'],
    ['.el-button--primary', '/last'],
  ] as const) {
    const left = router.push('/last')
    await flushPromises()
    // The box of before may still fade away.
    const found = document.querySelectorAll<HTMLElement>(`.el-message-box__btns ${button}`)
    ;[...found].at(-1)?.click()
    await left
    expect(router.currentRoute.value.path).toBe(path)
  }
})
