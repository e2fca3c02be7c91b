// What a list of customers is narrowed by: the filter language as a form has it (F70).
import type { Category, Field } from '@/api/types'

export type Kind =
  'text' | 'choice' | 'number' | 'date' | 'time' | 'boolean' | 'list' | 'person' | 'category' | 'dealer'

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

/** Conditions, and groups within it, of which all have to hold, or any. */
export interface Group {
  every: boolean
  parts: Part[]
}

export type Part = Condition | Group

/** Groups within groups and conditions that the API takes, the outermost group counted. */
export const DEEPEST = 5
export const MOST_CONDITIONS = 50

export function isGroup(part: Part): part is Group {
  return 'parts' in part
}

export function blank(): Condition {
  return { field: '', op: '', values: [] }
}

/** Every condition of a group, those of the groups within it among them. */
export function conditionsOf(group: Group): Condition[] {
  return group.parts.flatMap((part) => (isGroup(part) ? conditionsOf(part) : [part]))
}

const ORDER = ['eq', 'gte', 'lte', 'between', 'empty', 'not_empty']
export const OPERATORS: Record<Kind, string[]> = {
  text: ['contains', 'not_contains', 'eq', 'prefix', 'empty', 'not_empty'],
  choice: ['in', 'not_in', 'empty', 'not_empty'],
  list: ['in', 'not_in', 'empty', 'not_empty'],
  person: ['in', 'not_in', 'empty', 'not_empty'],
  category: ['in', 'not_in', 'empty', 'not_empty'],
  dealer: ['in', 'not_in', 'empty', 'not_empty'],
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
  ['dealer_id', 'dealer'],
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

type Written = { field: string; op: string; value?: unknown } | { all: Written[] } | { any: Written[] }

/** The filter as the API takes it; '' where nothing is asked. Conditions that are not whole are left out. */
export function toJson(filter: Group, known: Askable[], categories: Category[] = []): string {
  const written = write(filter, known, categories)
  return written ? JSON.stringify(written) : ''
}

function write(part: Part, known: Askable[], categories: Category[]): Written | undefined {
  if (isGroup(part)) {
    const parts = part.parts.map((one) => write(one, known, categories)).filter((one) => one !== undefined)
    if (!parts.length) return undefined
    return part.every ? { all: parts } : { any: parts }
  }
  if (!complete(part)) return undefined
  const { field, op } = part
  const given = part.values.filter(Boolean)
  const kind = known.find((one) => one.key === field)?.kind
  if (takesNothing(op)) return { field, op }
  if (takesDays(op)) return { field, op, value: Number(given[0]) }
  if (kind === 'boolean') return { field, op, value: given[0] === 'true' }
  if (kind === 'category') return { field, op, value: withBelow(given, categories) }
  return { field, op, value: ['in', 'not_in', 'between'].includes(op) ? given : given[0] }
}

/** The form of a filter. */
export function fromJson(text: string): Group {
  if (!text) return { every: true, parts: [] }
  const read = toPart(JSON.parse(text) as Record<string, unknown>)
  return isGroup(read) ? read : { every: true, parts: [read] }
}

function toPart(written: Record<string, unknown>): Part {
  const within = written['all'] ?? written['any']
  if (Array.isArray(within)) {
    return { every: 'all' in written, parts: (within as Record<string, unknown>[]).map(toPart) }
  }
  const value = written['value']
  const values = Array.isArray(value) ? value.map(String) : value === undefined ? [] : [String(value)]
  return { field: String(written['field']), op: String(written['op']), values }
}
