// The verbs of a lead that need no form of their own.
export const REASONED = ['return', 'mark_invalid', 'void'] as const
export const DIRECT = ['claim', 'resume', 'restore', 'lock', 'unlock'] as const

export type ReasonedVerb = (typeof REASONED)[number]
export type DirectVerb = (typeof DIRECT)[number]

/** Of what the server allows, in its order: the verbs of one kind. */
export function among<T extends string>(verbs: readonly T[], allowed: readonly string[]): T[] {
  return allowed.filter((action): action is T => (verbs as readonly string[]).includes(action))
}
