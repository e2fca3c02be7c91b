import { expect, it } from 'vitest'
import { base64Of } from './papers'

it('sends every byte of a file as it is', async () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, index) => index)
  const text = await base64Of(new Blob([bytes]))
  expect(Uint8Array.from(atob(text), (char) => char.charCodeAt(0))).toEqual(bytes)
})
