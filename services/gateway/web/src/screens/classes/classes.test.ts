import { expect, it } from 'vitest'
import type { Category } from '@/api/types'
import { asTree } from './classes'

it('counts a category with all below it', () => {
  const tree = [
    ['a', ''],
    ['d', ''],
    ['b', 'a'],
    ['c', 'b'],
  ].map(([categoryId, parentId]) => ({ categoryId, parentId, name: categoryId }) as Category)
  const counts = new Map([
    ['a', 1],
    ['c', 4],
    ['gone', 9],
  ])
  const [first, second] = asTree(tree, counts)
  expect([first?.count, first?.children[0]?.count, first?.children[0]?.children[0]?.count]).toEqual([5, 4, 4])
  expect(second?.count).toBe(0)
})
