// The typed client of the gateway's API: session cookie, language, and errors as exceptions.
import createClient, { type Middleware } from 'openapi-fetch'
import { i18n } from '@/i18n'
import { learnTime } from './clock'
import { ApiError, toApiError } from './errors'
import type { paths } from './schema'

let onSessionEnd = () => {}

/** Say what happens when the API no longer knows the session. */
export function whenSessionEnds(handler: () => void): void {
  onSessionEnd = handler
}

const headers: Middleware = {
  onRequest({ request }) {
    request.headers.set('Accept-Language', i18n.global.locale.value)
    // A page of another site cannot set it: the gateway's guard against forged requests.
    if (request.method !== 'GET') request.headers.set('X-Requested-With', 'gonghai')
    return request
  },
  onResponse({ response }) {
    learnTime(response.headers)
  },
}

export const api = createClient<paths>({
  baseUrl: window.location.origin,
  fetch: (request) => fetch(request),
})
api.use(headers)

interface Answer<T> {
  data?: T
  error?: unknown
  response: Response
}

/** What the API answered; throws ApiError when it refused, failed or did not answer. */
export async function answer<T>(pending: Promise<Answer<T>>): Promise<NonNullable<T>> {
  let result: Answer<T>
  try {
    result = await pending
  } catch {
    throw new ApiError(i18n.global.t('common.noAnswer'), 0, 'NO_ANSWER')
  }
  const { data, error, response } = result
  if (!response.ok) {
    if (response.status === 401) onSessionEnd()
    throw toApiError(response.status, error, i18n.global.t('common.badAnswer', { status: response.status }))
  }
  return (data ?? {}) as NonNullable<T>
}
