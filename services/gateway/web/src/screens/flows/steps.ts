// A flow's step as its form has it, and as the API has it.
import type { FlowStep, FlowStepInput, StepMode, WhenEmpty } from '@/api/types'
import { durationSeconds } from '@/format'

/** Ways to name who decides a step. */
export const WAYS = ['roles', 'people', 'superior', 'head', 'chosen'] as const
export type Way = (typeof WAYS)[number]

export const MODES: StepMode[] = ['STEP_MODE_ANY', 'STEP_MODE_ALL', 'STEP_MODE_IN_TURN']
export const WHEN_EMPTY: WhenEmpty[] = [
  'WHEN_EMPTY_ADMINISTRATORS',
  'WHEN_EMPTY_NAMED',
  'WHEN_EMPTY_PASS',
  'WHEN_EMPTY_REFUSE',
]
/** Operators that a condition's row offers, by the kind of its field. */
export const OPERATORS: Record<string, string[]> = {
  number: ['gte', 'gt', 'lt', 'lte', 'eq'],
  date: ['gte', 'lt', 'within_next_days'],
  text: ['contains', 'not_contains', 'eq', 'ne', 'empty', 'not_empty'],
  choice: ['eq', 'ne', 'empty', 'not_empty'],
  id: ['eq', 'ne'],
}
const WITHOUT_VALUE = ['empty', 'not_empty']
const SECONDS_IN_HOUR = 3600

export interface Condition {
  field: string
  op: string
  value: string
}

export interface StepForm {
  /** For the page's list only. */
  key: number
  name: string
  way: Way
  roles: string[]
  personIds: string[]
  superiorLevel: number
  headOf: string
  mode: StepMode
  whenEmpty: WhenEmpty
  standInIds: string[]
  conditions: Condition[]
  /** A condition that the rows cannot show, kept as it is. */
  written: string
  hours: number
  escalateRole: string
}

let keys = 0

export function newStep(): StepForm {
  return {
    key: keys++,
    name: '',
    way: 'roles',
    roles: [],
    personIds: [],
    superiorLevel: 1,
    headOf: 'own',
    mode: 'STEP_MODE_ANY',
    whenEmpty: 'WHEN_EMPTY_ADMINISTRATORS',
    standInIds: [],
    conditions: [],
    written: '',
    hours: 72,
    escalateRole: '',
  }
}

export function needsValue(op: string): boolean {
  return !WITHOUT_VALUE.includes(op)
}

/** Rows for a condition as JSON; undefined for one that is more than a list of questions. */
export function readConditions(json: string): Condition[] | undefined {
  if (!json) return []
  const document: unknown = JSON.parse(json)
  const parts = isObject(document) && Array.isArray(document['all']) ? document['all'] : [document]
  const rows = parts.map((part: unknown) => {
    if (!isObject(part) || typeof part['field'] !== 'string' || typeof part['op'] !== 'string')
      return undefined
    const value = part['value'] ?? ''
    if (typeof value !== 'string' && typeof value !== 'number') return undefined
    return { field: part['field'], op: part['op'], value: String(value) }
  })
  return rows.every((row) => row !== undefined) ? rows : undefined
}

export function writeConditions(rows: Condition[]): string {
  if (!rows.length) return ''
  const parts = rows.map(({ field, op, value }) => {
    if (!needsValue(op)) return { field, op }
    return { field, op, value: op.endsWith('_days') ? Number(value) : value }
  })
  return JSON.stringify({ all: parts })
}

/** What the form shows of a stored step; its amounts become conditions like any other. */
export function readStep(step: FlowStep): StepForm {
  const way: Way = step.roles.length
    ? 'roles'
    : step.personIds.length
      ? 'people'
      : step.superiorLevel
        ? 'superior'
        : step.headOf
          ? 'head'
          : 'chosen'
  const amounts: Condition[] = []
  if (step.amountFrom) amounts.push({ field: 'amount', op: 'gte', value: step.amountFrom })
  if (step.amountBelow) amounts.push({ field: 'amount', op: 'lt', value: step.amountBelow })
  const others = readConditions(step.condition)
  return {
    ...newStep(),
    name: step.name,
    way,
    roles: [...step.roles],
    personIds: [...step.personIds],
    superiorLevel: step.superiorLevel || 1,
    headOf: step.headOf || 'own',
    mode: step.mode,
    whenEmpty: step.whenEmpty,
    standInIds: [...step.standInIds],
    conditions: [...amounts, ...(others ?? [])],
    written: others ? '' : step.condition,
    hours: durationSeconds(step.timeLimit) / SECONDS_IN_HOUR,
    escalateRole: step.escalateRole,
  }
}

/** The step to store: the first "at least" and "below" of an amount are its own fields, everybody reads them there. */
export function writeStep(form: StepForm): FlowStepInput {
  const rest = [...form.conditions]
  function take(op: string): string {
    const at = rest.findIndex((row) => row.field === 'amount' && row.op === op)
    return at < 0 ? '' : (rest.splice(at, 1)[0]?.value ?? '')
  }
  const amountFrom = take('gte')
  const amountBelow = take('lt')
  return {
    name: form.name,
    roles: form.way === 'roles' ? form.roles : [],
    personIds: form.way === 'people' ? form.personIds : [],
    superiorLevel: form.way === 'superior' ? form.superiorLevel : 0,
    headOf: form.way === 'head' ? form.headOf : '',
    mode: form.mode,
    whenEmpty: form.whenEmpty,
    standInIds: form.whenEmpty === 'WHEN_EMPTY_NAMED' ? form.standInIds : [],
    amountFrom,
    amountBelow,
    condition: form.written || writeConditions(rest),
    timeLimit: `${Math.round(form.hours * SECONDS_IN_HOUR)}s`,
    escalateRole: form.escalateRole,
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
