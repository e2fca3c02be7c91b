// What a list of customers is narrowed by: the filter language as a form has it (F70).
import type { Category, Field } from '@/api/types'

export type Kind = 'text' | 'choice' | 'number' | 'date' | 'time' | 'boolean' | 'list' | 'person' | 'category'

/** Something that can be asked; choices where there are only some answers. */
export interface Askable {
  key: string
  label: string
  kind: Kind
  choices?: string[]
}

/** A condition as it is being made; what its operator needs no value for leaves `values` alone. */
export interface Condition {
  field: string
  op: string
  values: string[]
}

export interface Filter {
  /** All conditions have to hold, or any. */
  every: boolean
  conditions: Condition[]
}

const ORDER = ['eq', 'gte', 'lte', 'between', 'empty', 'not_empty']
export const OPERATORS: Record<Kind, string[]> = {
  text: ['contains', 'not_contains', 'eq', 'prefix', 'empty', 'not_empty'],
  choice: ['in', 'not_in', 'empty', 'not_empty'],
  list: ['in', 'not_in', 'empty', 'not_empty'],
  person: ['in', 'not_in', 'empty', 'not_empty'],
  category: ['in', 'not_in', 'empty', 'not_empty'],
  number: ORDER,
  date: ['within_last_days', 'within_next_days', ...ORDER],
  time: ['within_last_days', 'not_within_last_days', 'within_next_days', 'gte', 'lte', 'between', 'empty'],
  boolean: ['eq', 'empty'],
}

const KINDS: Record<string, Kind> = {
  number: 'number',
  amount: 'number',
  date: 'date',
  datetime: 'time',
  boolean: 'boolean',
  choice: 'choice',
  choices: 'list',
}

const BUILT_IN: [key: string, kind: Kind][] = [
  ['name', 'text'],
  ['level', 'choice'],
  ['region', 'text'],
  ['address', 'text'],
  ['business_type', 'text'],
  ['owner_id', 'person'],
  ['category_id', 'category'],
  ['tags', 'list'],
  ['hot', 'boolean'],
  ['dealer', 'boolean'],
  ['create_time', 'time'],
  ['own_time', 'time'],
  ['last_evidence_time', 'time'],
  ['reclaim_due_time', 'time'],
  ['lock_expire_time', 'time'],
]
export const LEVELS = ['A', 'B', 'C', 'D']

/** What may be asked: built-in fields, then the tenant's own; a telephone number only where numbers are shown. */
export function askables(fields: Field[], label: (key: string) => string, numbersShown: boolean): Askable[] {
  return [
    ...BUILT_IN.map(([key, kind]) => ({
      key,
      label: label(key),
      kind,
      ...(key === 'level' && { choices: LEVELS }),
    })),
    ...fields
      .filter((field) => field.type !== 'phone' || numbersShown)
      .map((field) => ({
        key: `custom.${field.key}`,
        label: field.name,
        kind: KINDS[field.type] ?? (field.type === 'phone' ? 'choice' : 'text'),
        ...(field.choices.length > 0 && { choices: field.choices }),
      })),
  ]
}

export function takesNothing(op: string): boolean {
  return op === 'empty' || op === 'not_empty'
}

export function takesDays(op: string): boolean {
  return op.endsWith('_days')
}

/** A condition says something whole. */
export function complete({ field, op, values }: Condition): boolean {
  if (!field || !op) return false
  if (takesNothing(op)) return true
  return values.filter(Boolean).length >= (op === 'between' ? 2 : 1)
}

/** A category with all below it, for who asks for the one means the others too. */
export function withBelow(ids: string[], categories: Category[]): string[] {
  const found = new Set(ids)
  // Parents come before their children.
  for (const one of categories) if (found.has(one.parentId)) found.add(one.categoryId)
  return [...found]
}

/** The filter as the API takes it; '' where nothing is asked. Raised to groups by the API, one is enough here. */
export function toJson(filter: Filter, known: Askable[], categories: Category[] = []): string {
  const parts = filter.conditions.filter(complete).map(({ field, op, values }) => {
    const given = values.filter(Boolean)
    const kind = known.find((one) => one.key === field)?.kind
    if (takesNothing(op)) return { field, op }
    if (takesDays(op)) return { field, op, value: Number(given[0]) }
    if (kind === 'boolean') return { field, op, value: given[0] === 'true' }
    if (kind === 'category') return { field, op, value: withBelow(given, categories) }
    return { field, op, value: ['in', 'not_in', 'between'].includes(op) ? given : given[0] }
  })
  if (!parts.length) return ''
  return JSON.stringify(filter.every ? { all: parts } : { any: parts })
}

/** The form of a filter; undefined for one that is deeper than the form goes. */
export function fromJson(text: string): Filter | undefined {
  if (!text) return { every: true, conditions: [] }
  const outer = JSON.parse(text) as Record<string, unknown>
  const parts = outer['all'] ?? outer['any'] ?? [outer]
  if (!Array.isArray(parts)) return undefined
  const conditions: Condition[] = []
  for (const part of parts as Record<string, unknown>[]) {
    if (typeof part['field'] !== 'string') return undefined
    const value = part['value']
    const values = Array.isArray(value) ? value.map(String) : value === undefined ? [] : [String(value)]
    conditions.push({ field: part['field'], op: String(part['op']), values })
  }
  return { every: !('any' in outer), conditions }
}
