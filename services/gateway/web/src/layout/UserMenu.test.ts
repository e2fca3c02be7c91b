import { flushPromises, mount } from '@vue/test-utils'
import { ElDropdown } from 'element-plus'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, expect, test, vi } from 'vitest'
import { i18n } from '@/i18n'
import { useSession } from '@/stores/session'
import { serve } from '@/testing/server'
import UserMenu from './UserMenu.vue'

afterEach(() => vi.unstubAllGlobals())

test('who signs out leaves nothing on the page for whoever signs in next', async () => {
  setActivePinia(createPinia())
  useSession().person = { personId: 'person-1', name: '张伟', login: 'zhang', rights: [] } as never
  serve({ 'DELETE /api/v1/session': () => undefined })
  sessionStorage.setItem('gonghai.draft.person-1.note.call-1', '"typed"')
  const leave = vi.spyOn(window.location, 'assign').mockImplementation(() => undefined)
  const menu = mount(UserMenu, { global: { plugins: [i18n] } })
  menu.getComponent(ElDropdown).vm.$emit('command', 'sign-out')
  await flushPromises()
  expect(leave).toHaveBeenCalledWith('/sign-in')
  expect(useSession().person).toBeUndefined()
  expect(sessionStorage.length).toBe(0)
  menu.unmount()
})
