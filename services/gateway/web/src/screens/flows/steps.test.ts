import { expect, test } from 'vitest'
import type { FlowStep } from '@/api/types'
import { newStep, readConditions, readStep, writeConditions, writeStep } from './steps'

const stored: FlowStep = {
  name: '销售总监',
  role: 'director',
  roles: ['director'],
  personIds: [],
  superiorLevel: 0,
  headOf: '',
  mode: 'STEP_MODE_ALL',
  whenEmpty: 'WHEN_EMPTY_NAMED',
  standInIds: ['p1'],
  amountFrom: '10000.00',
  amountBelow: '',
  condition: '{"all":[{"field":"customer","op":"contains","value":"上海"}]}',
  timeLimit: '3600s',
  escalateRole: 'admin',
}

test('a stored step goes through its form unchanged', () => {
  const { role, ...rest } = stored
  expect(role).toBe('director')
  expect(writeStep(readStep(stored))).toEqual(rest)
})

test('an amount is a condition like any other on the form', () => {
  const form = readStep(stored)
  expect(form.conditions).toEqual([
    { field: 'amount', op: 'gte', value: '10000.00' },
    { field: 'customer', op: 'contains', value: '上海' },
  ])
  expect(form.hours).toBe(1)
})

test('only the way that was chosen names who decides', () => {
  const form = { ...newStep(), name: '上级', way: 'superior' as const, roles: ['director'], superiorLevel: 2 }
  expect(writeStep(form)).toMatchObject({ roles: [], superiorLevel: 2, headOf: '', standInIds: [] })
})

test.each([
  ['', []],
  ['{"field":"level","op":"eq","value":"A"}', [{ field: 'level', op: 'eq', value: 'A' }]],
  ['{"any":[{"field":"level","op":"eq","value":"A"}]}', undefined],
  ['{"all":[{"field":"level","op":"in","value":["A"]}]}', undefined],
])('a condition is shown in rows where rows can say it: %s', (json, rows) => {
  expect(readConditions(json)).toEqual(rows)
})

test('a count of days is a number, a question without a value has none', () => {
  const rows = [
    { field: 'end', op: 'within_next_days', value: '30' },
    { field: 'about', op: 'empty', value: '' },
  ]
  expect(JSON.parse(writeConditions(rows))).toEqual({
    all: [
      { field: 'end', op: 'within_next_days', value: 30 },
      { field: 'about', op: 'empty' },
    ],
  })
})
