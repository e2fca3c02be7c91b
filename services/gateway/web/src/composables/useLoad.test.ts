import { flushPromises } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { expect, test } from 'vitest'
import { ApiError } from '@/api/errors'
import { useSession } from '@/stores/session'
import { useLoad } from './useLoad'

test('what was read stays when the session ends, and is read again for who signs in again', async () => {
  setActivePinia(createPinia())
  const session = useSession()
  session.person = { personId: 'person-1' } as never
  let name = 'first'
  const { data, error, load } = useLoad(async () => {
    if (session.ended) throw new ApiError('signed out', 401, 'SESSION_ENDED')
    return name
  })
  await load()
  session.end()
  await load()
  expect(error.value).toBeUndefined()
  expect(data.value).toBe('first')
  name = 'second'
  session.goOn()
  await flushPromises()
  expect(data.value).toBe('second')
})
