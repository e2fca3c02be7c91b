import { createRouter, createWebHistory, type RouteRecordRaw } from 'vue-router'
import { whenSessionEnds } from './api/client'
import { card, entries } from './menu'
import { useSession } from './stores/session'

declare module 'vue-router' {
  interface RouteMeta {
    right?: string
  }
}

const screens: RouteRecordRaw[] = [...entries, card].map(({ name, path, right, screen }) => ({
  name,
  path,
  component: screen,
  meta: right ? { right } : {},
  props: true,
}))

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/sign-in', name: 'sign-in', component: () => import('./screens/sign-in/SignInScreen.vue') },
    { path: '/', component: () => import('./layout/AppLayout.vue'), children: screens },
    { path: '/:anything(.*)*', redirect: '/' },
  ],
})

router.beforeEach((to) => {
  const session = useSession()
  if (to.name === 'sign-in') return true
  if (!session.person) return { name: 'sign-in', query: to.path === '/' ? {} : { next: to.fullPath } }
  if (to.path !== '/' && session.can(to.meta.right)) return true
  // The first screen that the person may open; messages are open to everybody.
  return { name: entries.find((entry) => session.can(entry.right))?.name ?? 'messages' }
})

whenSessionEnds(() => useSession().end())
