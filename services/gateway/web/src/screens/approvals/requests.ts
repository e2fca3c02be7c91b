import type { Finance, SubjectType } from '@/api/types'

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

/** What an invoice needs of a customer, as one writes it into a form; empty where nothing is known. */
export function financeText(finance: Finance, label: (key: keyof Finance) => string): string {
  return (Object.keys(finance) as (keyof Finance)[])
    .filter((key) => finance[key])
    .map((key) => `${label(key)} ${finance[key]}`)
    .join('；')
}
