import { expect, test } from 'vitest'
import { atWork, counted, progressOf, type Import } from './progress'

const some = { rowCount: 8, stagedCount: 0, readyCount: 2, badCount: 1, duplicateCount: 0, doneCount: 5 }

function one(state: Import['state'], more: Partial<Import> = {}): Import {
  return { ...some, ...more, state } as Import
}

test('progress is of what is done at the moment', () => {
  expect(progressOf(one('IMPORT_STATE_COMMITTING'))).toBe(75)
  expect(progressOf(one('IMPORT_STATE_CHECKING', { stagedCount: 4 }))).toBe(50)
  expect(progressOf(one('IMPORT_STATE_DONE'))).toBe(100)
})

test('only what somebody works on is looked at again', () => {
  expect(atWork(one('IMPORT_STATE_COMMITTING'))).toBe(true)
  expect(atWork(one('IMPORT_STATE_CHECKED'))).toBe(false)
})

test('counts of nothing are not shown', () => {
  expect(counted(one('IMPORT_STATE_DONE'))).toEqual([
    ['ready', 2],
    ['bad', 1],
    ['done', 5],
  ])
})
