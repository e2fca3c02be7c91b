import { expect, it } from 'vitest'
import { base64Of, blobOf } from './files'

it('gives back what it was given, bytes beyond ASCII too', async () => {
  const text = await base64Of(new Blob([new Uint8Array([0, 127, 128, 255])]))
  expect(text).toBe('AH+A/w==')
  const back = blobOf(text, 'application/pdf')
  expect(back.type).toBe('application/pdf')
  expect([...new Uint8Array(await back.arrayBuffer())]).toEqual([0, 127, 128, 255])
})
