// What the API answers when it refuses or fails, and where in a form that belongs.
import type { components } from './schema'

type Body = components['schemas']['Error']['error']

/** A refusal or failure, worded for the reader. */
export class ApiError extends Error {
  override name = 'ApiError'

  constructor(
    message: string,
    /** HTTP status; 0 when no answer came. */
    readonly status: number,
    /** Stable reason for programs, UPPER_SNAKE. */
    readonly reason: string,
    /** Which fields of the request are wrong. */
    readonly fields: Body['fields'] = [],
    /** What the message was made of, by name. */
    readonly metadata: Record<string, string> = {},
  ) {
    super(message)
  }

  /** True when the server may or may not have acted: only the same request id is safe to send again. */
  get uncertain(): boolean {
    return this.status === 0 || this.status >= 500
  }
}

/** The error that an answer's body holds; `fallback` words a body that is not the API's own. */
export function toApiError(status: number, body: unknown, fallback: string): ApiError {
  const error = (body as { error?: Partial<Body> } | undefined)?.error
  if (!error?.message) return new ApiError(fallback, status, 'UNREADABLE_ANSWER')
  return new ApiError(error.message, status, error.reason ?? '', error.fields ?? [], error.metadata ?? {})
}

/** contacts[0].full_name and contacts.0.fullName are the same field. */
function normal(path: string): string[] {
  return path
    .replace(/\[(\d+)\]/g, '.$1')
    .replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
    .split('.')
}

/** Whether a part of the path is the field; what is said of one in a list is said of no field of its name outside. */
function contains(path: string[], part: string[]): boolean {
  const inList = path.findIndex((name) => /^\d+$/.test(name))
  return path.some(
    (_, start) => (inList < 0 || start < inList) && part.every((name, i) => path[start + i] === name),
  )
}

/** The text as it stands under the field's label, which says already which one is meant. */
function unnamed({ field, message }: Body['fields'][number]): string {
  const [first = '', ...rest] = message.split(' ')
  return normal(first).join() === normal(field).join() ? rest.join(' ') : message
}

/**
 * What is wrong with a form's field: the first message whose path holds the field's, so that
 * `phones` shows what is said about phones[0].number, and `mobile` about person.mobile.
 */
export function messageOf(error: ApiError | undefined, field: string): string {
  const part = normal(field)
  const said = error?.fields.find((wrong) => contains(normal(wrong.field), part))
  return said ? unnamed(said) : ''
}
