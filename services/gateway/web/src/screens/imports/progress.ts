import type { components } from '@/api/schema'

export type Import = components['schemas']['customers.Import']

const WORKING = [
  'IMPORT_STATE_UPLOADING',
  'IMPORT_STATE_STAGING',
  'IMPORT_STATE_CHECKING',
  'IMPORT_STATE_COMMITTING',
]

/** Whether something is done with it at the moment. */
export function atWork(one: Pick<Import, 'state'>): boolean {
  return WORKING.includes(one.state)
}

/** Percent of what is done at the moment: of checking, or of importing. */
export function progressOf(one: Import): number {
  const left = one.state === 'IMPORT_STATE_COMMITTING' ? one.readyCount : one.stagedCount
  return one.rowCount ? Math.floor((100 * (one.rowCount - left)) / one.rowCount) : 0
}

/** The counts that are not zero, by name. */
export function counted(one: Import): [string, number][] {
  const counts: [string, number][] = [
    ['staged', one.stagedCount],
    ['ready', one.readyCount],
    ['bad', one.badCount],
    ['duplicate', one.duplicateCount],
    ['done', one.doneCount],
  ]
  return counts.filter(([, count]) => count > 0)
}
