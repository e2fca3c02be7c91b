import type { SubjectType } from '@/api/types'

/** What people submit themselves; everything else comes from the record that it is about. */
export const REQUEST_TYPES: SubjectType[] = [
  'SUBJECT_TYPE_EXPENSE',
  'SUBJECT_TYPE_SUPPORT',
  'SUBJECT_TYPE_FOLLOW_UP',
  'SUBJECT_TYPE_CUSTOMER',
  'SUBJECT_TYPE_LEAD',
  'SUBJECT_TYPE_OPPORTUNITY',
  'SUBJECT_TYPE_QUOTE',
  'SUBJECT_TYPE_OTHER',
]
