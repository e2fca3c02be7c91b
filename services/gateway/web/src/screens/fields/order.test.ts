import { expect, test } from 'vitest'
import { moved } from './order'

test('an item moves to its place, the others keep their order', () => {
  const items = ['a', 'b', 'c', 'd']
  expect(moved(items, 0, 2)).toEqual(['b', 'c', 'a', 'd'])
  expect(moved(items, 3, 0)).toEqual(['d', 'a', 'b', 'c'])
  expect(moved(items, 1, 1)).toEqual(items)
})
