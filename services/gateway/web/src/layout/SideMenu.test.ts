import { flushPromises, mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { i18n } from '@/i18n'
import { entries } from '@/menu'
import { router } from '@/router'
import { useSession } from '@/stores/session'
import { serve } from '@/testing/server'
import SideMenu from './SideMenu.vue'

beforeEach(() => {
  setActivePinia(createPinia())
  localStorage.clear()
})
afterEach(() => vi.unstubAllGlobals())

async function show(path: string, rights: (string | undefined)[]) {
  useSession().person = { personId: 'person-1', name: '张伟', rights } as never
  serve({ 'GET /api/v1/approvals': () => ({ approvals: [{}, {}] }) })
  await router.push(path)
  const menu = mount(SideMenu, { global: { plugins: [i18n, router] } })
  await flushPromises()
  const names = (testid: string) =>
    menu
      .findAll(`[data-testid^="${testid}"]`)
      .map((one) => one.attributes('data-testid')?.slice(testid.length))
  const toggle = (group: string) => menu.find(`[data-testid="menu-group-${group}"]`).trigger('click')
  return { menu, names, toggle }
}

test('a group without a screen that the person may open is not there', async () => {
  const { menu, names } = await show('/orders', ['orders.view'])
  expect(names('menu-group-')).toEqual(['sales', 'desk'])
  expect(menu.findAll('a').map((link) => link.text())).toContain('订单')
  menu.unmount()
})

test('what is folded stays folded on the next visit, and says what waits in it', async () => {
  const first = await show('/orders', ['orders.view'])
  await first.toggle('desk')
  expect(first.menu.find('[data-testid="menu-approvals"]').exists()).toBe(false)
  expect(first.menu.find('[data-testid="menu-group-desk"]').text()).toContain('2')
  first.menu.unmount()
  const again = await show('/orders', ['orders.view'])
  expect(again.menu.find('[data-testid="menu-group-desk"]').attributes('aria-expanded')).toBe('false')
  again.menu.unmount()
})

test('where one is stands open, even in what is folded at first', async () => {
  const all = entries.map((entry) => entry.right)
  const { menu } = await show('/orders', all)
  expect(menu.find('[data-testid="menu-settings"]').exists()).toBe(false)
  await router.push('/settings')
  await flushPromises()
  expect(menu.find('[data-testid="menu-settings"]').classes()).toContain('active')
  menu.unmount()
})
