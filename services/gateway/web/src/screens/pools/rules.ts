// Reclaim rules as the pages word them.
import type { ReclaimClause, ReclaimRule } from '@/api/types'
import { i18n } from '@/i18n'

/** What restarts the clock, as the contract names it (O10). */
export const EVIDENCE = ['follow_up', 'call', 'order', 'contract'] as const

/** The rule of a pool that nobody has touched. */
export const NEW_RULE: ReclaimRule = {
  idleDays: 30,
  warnDays: 1,
  clauses: [],
  evidence: [...EVIDENCE],
  exemptLevels: [],
  exemptBusinessTypes: [],
  exemptContracted: false,
}

/** One way to lose a customer, in words. */
export function clauseText(clause: ReclaimClause): string {
  const { t } = i18n.global
  const asked = [
    ...(clause.idleDays ? [t('pools.clause.idle', { n: clause.idleDays })] : []),
    ...(clause.contractDays ? [t('pools.clause.contract', { n: clause.contractDays })] : []),
  ]
  const about = [
    ...(clause.levels.length ? [t('pools.clause.levels', { list: clause.levels.join('、') })] : []),
    ...(clause.businessTypes.length
      ? [t('pools.clause.businessTypes', { list: clause.businessTypes.join('、') })]
      : []),
  ]
  const words = asked.join(t('pools.clause.and'))
  return about.length ? t('pools.clause.only', { about: about.join(' '), words }) : words
}

/** When a rule takes customers, in words. */
export function ruleText(rule: ReclaimRule | undefined): string {
  const { t } = i18n.global
  if (!rule || (!rule.idleDays && !rule.clauses.length)) return t('pools.rule.off')
  const ways = rule.clauses.length
    ? rule.clauses
    : [{ idleDays: rule.idleDays, contractDays: 0, levels: [], businessTypes: [] }]
  return t('pools.rule.text', {
    ways: ways.map(clauseText).join(t('pools.clause.or')),
    warn: rule.warnDays,
  })
}
