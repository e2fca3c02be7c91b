import { computed } from 'vue'
import { useRoute, useRouter } from 'vue-router'

/** The open one of a screen's tabs, kept in the address as `tab`; the first for a name that is none's. */
export function useTab(names: readonly [string, ...string[]]) {
  const route = useRoute()
  const router = useRouter()
  return computed({
    get: () => names.find((name) => name === route.query['tab']) ?? names[0],
    set: (name) => void router.replace({ query: { ...route.query, tab: name } }),
  })
}
