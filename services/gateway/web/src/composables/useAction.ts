import { ElMessage } from 'element-plus'
import { ref, shallowRef } from 'vue'
import { ApiError, messageOf } from '@/api/errors'
import { newRequestId } from '@/api/requestId'

/**
 * A change that the user asks for, one at a time.
 *
 * `act` gets a request id first. The same input after an uncertain outcome goes out under the same id, so that
 * pressing the button again cannot do it twice. Errors of the form's `fields` stay for `fieldError`; anything else
 * becomes a message on the page.
 */
export function useAction<A extends unknown[], R>(
  act: (requestId: string, ...args: A) => Promise<R>,
  fields: string[] = [],
) {
  const busy = ref(false)
  const error = shallowRef<ApiError>()
  let unsettled: { input: string; id: string } | undefined

  /** Do it; the answer, or undefined when it was refused, failed or is under way already. */
  async function run(...args: A): Promise<R | undefined> {
    if (busy.value) return undefined
    const input = JSON.stringify(args)
    const id = unsettled?.input === input ? unsettled.id : newRequestId()
    busy.value = true
    error.value = undefined
    try {
      const result = await act(id, ...args)
      unsettled = undefined
      return result
    } catch (thrown) {
      if (!(thrown instanceof ApiError)) throw thrown
      error.value = thrown
      unsettled = thrown.uncertain ? { input, id } : undefined
      if (thrown.status !== 401 && !fields.some(fieldError)) {
        ElMessage.error({ message: thrown.message, grouping: true, duration: 5000 })
      }
      return undefined
    } finally {
      busy.value = false
    }
  }

  /** What the server said about a field; empty if nothing. */
  function fieldError(field: string): string {
    return messageOf(error.value, field)
  }

  return { run, busy, error, fieldError }
}
