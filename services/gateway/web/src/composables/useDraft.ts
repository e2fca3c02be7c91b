import { computed, ref, watch, type Ref } from 'vue'
import { useSession } from '@/stores/session'

const DRAFTS = 'gonghai.draft.'

/**
 * What is being typed: until it is settled it survives a reload, another screen and another sign-in in this tab.
 *
 * name: what it is about; everybody has drafts of their own. begin: what it is where nothing was typed; plain JSON.
 */
export function useDraft<T>(name: string, begin: T) {
  const key = `${DRAFTS}${useSession().person?.personId ?? ''}.${name}`
  const kept = sessionStorage.getItem(key)
  const draft = ref(kept === null ? begin : JSON.parse(kept)) as Ref<T>
  const untouched = JSON.stringify(begin)
  const touched = computed(() => JSON.stringify(draft.value) !== untouched)
  watch(draft, (value) => (touched.value ? sessionStorage.setItem(key, JSON.stringify(value)) : settle()), {
    deep: true,
    flush: 'sync',
  })

  /** What was typed is kept elsewhere now, or not wanted. */
  function settle(): void {
    sessionStorage.removeItem(key)
  }

  return { draft, touched, settle }
}

/** Forget all drafts: who signs out leaves nothing behind. */
export function forgetDrafts(): void {
  for (const key of Object.keys(sessionStorage)) {
    if (key.startsWith(DRAFTS)) sessionStorage.removeItem(key)
  }
}
