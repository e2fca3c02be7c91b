import { ref, watch } from 'vue'

/** Text that is being typed and survives a reload of the page until it is settled. */
export function useDraft(name: string) {
  const key = `gonghai.draft.${name}`
  const draft = ref(sessionStorage.getItem(key) ?? '')
  watch(draft, (text) => sessionStorage.setItem(key, text))

  /** The text is kept elsewhere now, or not wanted. */
  function settle(): void {
    sessionStorage.removeItem(key)
  }

  return { draft, settle }
}
