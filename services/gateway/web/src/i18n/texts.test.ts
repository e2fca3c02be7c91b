import { expect, test } from 'vitest'
import openapi from '../../../openapi.json'
import { i18n } from '.'

const sources = import.meta.glob<string>(
  ['../**/*.vue', '../**/*.ts', '!../**/*.test.ts', '!../api/schema.d.ts'],
  {
    eager: true,
    query: '?raw',
    import: 'default',
  },
)

/** Paths of all texts below a message, with a dot between the names. */
function paths(message: object, prefix = ''): string[] {
  return Object.entries(message).flatMap(([key, value]) =>
    typeof value === 'object' ? paths(value, `${prefix}${key}.`) : [prefix + key],
  )
}

test('both languages have the same texts', () => {
  const { 'zh-CN': zh, en } = i18n.global.messages.value
  expect(paths(en ?? {}).sort()).toEqual(paths(zh ?? {}).sort())
})

test('every text that a page names exists, and no other', () => {
  const code = Object.values(sources).join('\n')
  const named = new Set([...code.matchAll(/\btm?\(\s*'([\w.-]+)'/g)].map(([, key]) => key))
  // Names with a part from a variable: `states.${state}`.
  const beginnings = [...code.matchAll(/\bt\(\s*`([\w.-]+\.)\$/g)].map(([, beginning]) => beginning ?? '')
  const idle = paths(i18n.global.messages.value['zh-CN'] ?? {})
    // A list is named as a whole.
    .filter((path) => !named.has(path) && !named.has(path.replace(/\.\d+$/, '')))
    .filter((path) => !beginnings.some((beginning) => path.startsWith(beginning)))
  expect(idle).toEqual([])

  const missing = Object.entries(sources).flatMap(([path, source]) =>
    [...source.matchAll(/\bt\(\s*'([\w.-]+)'/g)]
      .map(([, key]) => key ?? '')
      .filter((key) => !i18n.global.te(key))
      .map((key) => `${path}: ${key}`),
  )
  expect(missing).toEqual([])
})

test('every state that a page shows has a word', () => {
  const shown = /\.(\w+State|CallDirection|OwnershipCause|SubjectType|SubjectKind|RuleField|DataScope)$/
  const values = Object.entries(openapi.components.schemas)
    .filter(([name, schema]) => shown.test(name) && 'enum' in schema)
    .flatMap(([, schema]) => ('enum' in schema ? (schema.enum as string[]) : []))
    .filter((value) => !value.endsWith('_UNSPECIFIED') && value !== 'POP_STATE_CLOSED')
  expect(values.length).toBeGreaterThan(50)
  expect(values.filter((value) => !i18n.global.te(`states.${value}`))).toEqual([])
})
