import { computed, ref, watch } from 'vue'
import { useRoute } from 'vue-router'
import { entries, GROUPS, type Group } from '@/menu'
import { useSession } from '@/stores/session'

/** Which groups are folded, kept from visit to visit. */
const STORED = 'gonghai.menu.folded'
/** What few people open often is folded at first. */
const FOLDED_AT_FIRST: Group[] = ['admin']

/** The side menu as this person sees it: groups of the screens that may be opened, folded or not. */
export function useMenu() {
  const route = useRoute()
  const session = useSession()
  const folded = ref(read())

  const groups = computed(() =>
    GROUPS.map((name) => ({
      name,
      open: !folded.value.includes(name),
      entries: entries.filter((entry) => entry.group === name && session.can(entry.right)),
    })).filter((group) => group.entries.length > 0),
  )

  function toggle(name: Group): void {
    const others = folded.value.filter((group) => group !== name)
    folded.value = others.length < folded.value.length ? others : [...others, name]
    localStorage.setItem(STORED, JSON.stringify(folded.value))
  }

  // Where one is stands open, however one came there.
  watch(
    () => entries.find((entry) => entry.name === route.name)?.group,
    (here) => (folded.value = folded.value.filter((group) => group !== here)),
    { immediate: true },
  )

  return { groups, toggle }
}

function read(): Group[] {
  const stored: unknown = JSON.parse(localStorage.getItem(STORED) ?? 'null')
  return Array.isArray(stored) ? GROUPS.filter((group) => stored.includes(group)) : FOLDED_AT_FIRST
}
