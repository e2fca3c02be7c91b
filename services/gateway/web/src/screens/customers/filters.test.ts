import { expect, it } from 'vitest'
import type { Category, Field } from '@/api/types'
import { askables, complete, conditionsOf, fromJson, toJson, withBelow } from './filters'

function field(key: string, type: string, choices: string[] = []): Field {
  return {
    object: 'customer',
    key,
    name: key,
    type,
    required: false,
    unique: false,
    searchable: false,
    listed: false,
    maxLength: 0,
    choices,
    active: true,
    version: '1',
  }
}

const known = askables(
  [field('staff', 'number'), field('grade', 'choice', ['甲', '乙']), field('fax', 'phone')],
  (key) => key,
  false,
)

it('asks of own fields as of built-in ones, and of numbers only who may read them', () => {
  const own = known.filter(({ key }) => key.startsWith('custom.'))
  expect(own.map(({ key, kind }) => [key, kind])).toEqual([
    ['custom.staff', 'number'],
    ['custom.grade', 'choice'],
  ])
  expect(askables([field('fax', 'phone')], (key) => key, true).at(-1)?.key).toBe('custom.fax')
})

it('writes what the API takes, and leaves out what is not whole', () => {
  const parts = [
    { field: 'level', op: 'in', values: ['A', 'B'] },
    { field: 'hot', op: 'eq', values: ['true'] },
    { field: 'own_time', op: 'within_last_days', values: ['30'] },
    { field: 'custom.staff', op: 'between', values: ['10', '50'] },
    { field: 'custom.staff', op: 'between', values: ['10', ''] },
    { field: 'region', op: 'empty', values: ['ignored'] },
    { field: '', op: '', values: [] },
  ]
  expect(JSON.parse(toJson({ every: false, parts }, known))).toEqual({
    any: [
      { field: 'level', op: 'in', value: ['A', 'B'] },
      { field: 'hot', op: 'eq', value: true },
      { field: 'own_time', op: 'within_last_days', value: 30 },
      { field: 'custom.staff', op: 'between', value: ['10', '50'] },
      { field: 'region', op: 'empty' },
    ],
  })
  expect(toJson({ every: true, parts: parts.slice(-1) }, known)).toBe('')
})

it('reads its own filters back, groups within groups too', () => {
  const hot = { field: 'hot', op: 'eq', values: ['true'] }
  const inner = { every: true, parts: [{ field: 'level', op: 'in', values: ['A'] }, hot] }
  const filter = { every: true, parts: [hot, { every: false, parts: [hot, inner] }] }
  const text = toJson(filter, known)
  expect(JSON.parse(text)).toEqual({
    all: [
      { field: 'hot', op: 'eq', value: true },
      {
        any: [
          { field: 'hot', op: 'eq', value: true },
          {
            all: [
              { field: 'level', op: 'in', value: ['A'] },
              { field: 'hot', op: 'eq', value: true },
            ],
          },
        ],
      },
    ],
  })
  expect(fromJson(text)).toEqual(filter)
  expect(conditionsOf(filter)).toHaveLength(4)
  expect(fromJson('').parts).toEqual([])
  expect(fromJson('{"field": "hot", "op": "eq", "value": true}')).toEqual({ every: true, parts: [hot] })
})

it('leaves out a group in which nothing is asked', () => {
  const empty = { every: false, parts: [{ field: 'level', op: 'in', values: [] }] }
  expect(toJson({ every: true, parts: [empty] }, known)).toBe('')
})

it('takes a category with all below it', () => {
  const tree = [
    ['a', ''],
    ['b', 'a'],
    ['c', 'b'],
    ['d', ''],
  ].map(([categoryId, parentId]) => ({ categoryId, parentId, name: '', depth: 1, version: '1' }) as Category)
  expect(withBelow(['a'], tree)).toEqual(['a', 'b', 'c'])
})

it('knows when a condition is whole', () => {
  expect(complete({ field: 'region', op: 'contains', values: [''] })).toBe(false)
  expect(complete({ field: 'region', op: 'empty', values: [] })).toBe(true)
})
