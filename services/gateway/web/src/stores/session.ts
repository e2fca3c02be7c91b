// Who is signed in, and what they may do.
import { defineStore } from 'pinia'
import { ref, shallowRef, watch } from 'vue'
import { answer, api } from '@/api/client'
import { ApiError } from '@/api/errors'
import type { Person } from '@/api/types'
import { forgetDrafts } from '@/composables/useDraft'

// Under which every tab of this browser, which share a cookie, finds whose session it is.
const WHOSE = 'session-of'

export const useSession = defineStore('session', () => {
  const person = shallowRef<Person>()
  const tenantName = ref('')
  /** The session has ended; the page waits for the person to sign in again. */
  const ended = ref(false)

  window.addEventListener('storage', (event) => {
    if (event.key !== WHOSE || !person.value) return
    // Another tab signed in or out: what this one does from now on is done as who is signed in there.
    if (event.newValue) follow(person.value.personId, event.newValue)
    else end()
  })

  /** Somebody signed in: who was here before goes on, by the ids; another person gets a page of their own. */
  function follow(before: string | undefined, now: string | undefined): void {
    if (now === before) goOn()
    // Nothing on the page is another person's to see.
    else window.location.assign('/')
  }

  /** Read who the session cookie belongs to; nobody where there is no session. Throws when the API does not answer. */
  async function restore(): Promise<void> {
    try {
      const me = await answer(api.GET('/api/v1/me'))
      person.value = me.person
      tenantName.value = me.tenantName
      if (me.person) localStorage.setItem(WHOSE, me.person.personId)
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error
      forget()
    }
  }

  async function signIn(tenant: string, login: string, password: string): Promise<void> {
    await answer(api.POST('/api/v1/session', { body: { tenant, login, password } }))
    await restore()
  }

  async function signOut(): Promise<void> {
    await answer(api.DELETE('/api/v1/session'))
    forget()
    forgetDrafts()
  }

  /** The API no longer knows the session. */
  function end(): void {
    ended.value = Boolean(person.value)
  }

  /** The same person is signed in again. */
  function goOn(): void {
    ended.value = false
  }

  /** Wait for the person whose session has ended. */
  function back(): Promise<void> {
    return new Promise((resolve) => watch(ended, () => resolve(), { once: true }))
  }

  function forget(): void {
    ended.value = false
    person.value = undefined
    tenantName.value = ''
    localStorage.removeItem(WHOSE)
  }

  /** Whether the roles give a right; without an argument every signed-in person may. */
  function can(right?: string): boolean {
    return right === undefined || (person.value?.rights.includes(right) ?? false)
  }

  return { person, tenantName, ended, restore, signIn, signOut, end, follow, goOn, back, forget, can }
})
