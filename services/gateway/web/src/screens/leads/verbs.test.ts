import { expect, it } from 'vitest'
import { among, DIRECT, REASONED } from './verbs'

it('keeps what the server allows, in its order, and nothing else', () => {
  const allowed = ['follow', 'void', 'return', 'convert', 'lock']
  expect(among(REASONED, allowed)).toEqual(['void', 'return'])
  expect(among(DIRECT, allowed)).toEqual(['lock'])
  expect(among(DIRECT, [])).toEqual([])
})
