import { ref, shallowRef } from 'vue'
import { ApiError } from '@/api/errors'
import { useSession } from '@/stores/session'

/** Something that is read from the API: the newest answer, whether one is under way, and what went wrong. */
export function useLoad<A extends unknown[], T>(read: (...args: A) => Promise<T>) {
  const data = shallowRef<T>()
  const busy = ref(false)
  const error = shallowRef<ApiError>()
  let newest = 0

  /**
   * Read it; an answer that a later call overtook is dropped. Where the session has ended what was read stays, with the
   * forms on it, and it is read again for who signs in again.
   */
  async function load(...args: A): Promise<void> {
    const mine = ++newest
    busy.value = true
    try {
      const result = await read(...args)
      if (mine !== newest) return
      data.value = result
      error.value = undefined
    } catch (thrown) {
      if (!(thrown instanceof ApiError)) throw thrown
      if (mine !== newest) return
      if (thrown.status === 401 && useSession().ended) {
        void useSession()
          .back()
          .then(() => (mine === newest ? load(...args) : undefined))
      } else {
        error.value = thrown
      }
    } finally {
      if (mine === newest) busy.value = false
    }
  }

  return { data, busy, error, load }
}
