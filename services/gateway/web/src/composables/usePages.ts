import { computed } from 'vue'
import { useLoad } from './useLoad'

/** One page of a list. */
export interface Page<T> {
  items: T[]
  nextPageToken: string
}

/** A list that is read page by page; `read` gets the page's token, empty for the first. */
export function usePages<T>(read: (pageToken: string) => Promise<Page<T>>) {
  const { data, busy, error, load } = useLoad(async (before: T[], pageToken: string) => {
    const page = await read(pageToken)
    return { rows: [...before, ...page.items], next: page.nextPageToken }
  })
  const rows = computed(() => data.value?.rows ?? [])
  const more = computed(() => Boolean(data.value?.next))

  /** Read the list again from its beginning. */
  function reload(): Promise<void> {
    return load([], '')
  }

  async function loadMore(): Promise<void> {
    const next = data.value?.next
    if (next && !busy.value) await load(rows.value, next)
  }

  return { rows, more, busy, error, reload, loadMore }
}
