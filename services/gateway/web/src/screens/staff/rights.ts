// The rights matrix of a role: a row for each module, its rights to tick.
import type { RightModule } from '@/api/types'

/** How much of a module is granted. */
export type Share = 'none' | 'some' | 'all'

/** How much of a module the granted rights hold. */
export function shareOf(module: RightModule, granted: string[]): Share {
  const held = module.rights.filter(({ right }) => granted.includes(right)).length
  if (!held) return 'none'
  return held === module.rights.length ? 'all' : 'some'
}

/** The granted rights after a module was switched on or off as a whole. */
export function withModule(module: RightModule, granted: string[], on: boolean): string[] {
  const own = new Set(module.rights.map(({ right }) => right))
  const others = granted.filter((right) => !own.has(right))
  return on ? [...others, ...own].sort() : others
}

/** The granted rights after one was switched. An operation needs its module's entry, and goes with it. */
export function withRight(module: RightModule, granted: string[], right: string, on: boolean): string[] {
  const entry = module.rights.find(({ level }) => level === 'RIGHT_LEVEL_ENTRY')?.right
  if (!on && right === entry) return withModule(module, granted, false)
  const rest = granted.filter((other) => other !== right)
  if (!on) return rest
  return [...new Set([...rest, right, ...(entry ? [entry] : [])])].sort()
}
