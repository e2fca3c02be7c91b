// A scripted server behind `fetch`, for tests: each route answers as the test says, every request is kept.
import { vi } from 'vitest'

export interface Asked {
  method: string
  path: string
  query: URLSearchParams
  headers: Headers
  body: Record<string, unknown>
}

type Script = (asked: Asked) => unknown

/** Answer of a script that is not a plain success. */
export class Refused {
  constructor(
    readonly status: number,
    readonly error: { reason?: string; message: string; fields?: { field: string; message: string }[] },
  ) {}
}

/** Put a scripted server in the place of `fetch`; a route is "GET /api/v1/me". Returns what it was asked. */
export function serve(routes: Record<string, Script>): Asked[] {
  const asked: Asked[] = []
  vi.stubGlobal('fetch', async (request: Request) => {
    const url = new URL(request.url)
    const text = await request.text()
    const ask: Asked = {
      method: request.method,
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body: text ? JSON.parse(text) : {},
    }
    asked.push(ask)
    const script = routes[`${ask.method} ${ask.path}`]
    if (!script) throw new TypeError(`no script for ${ask.method} ${ask.path}`)
    const answer = script(ask)
    if (answer === undefined) return new Response(null, { status: 204 })
    if (answer instanceof Refused) return Response.json({ error: answer.error }, { status: answer.status })
    return Response.json(answer)
  })
  return asked
}
