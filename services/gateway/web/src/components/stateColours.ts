type Colour = 'primary' | 'success' | 'info' | 'warning' | 'danger'

// By the word behind the enum's own name, which means the same in every enum.
const COLOURS: Record<Colour, string[]> = {
  success: [
    'WON',
    'APPROVED',
    'PASSED',
    'CONVERTED',
    'DELIVERED',
    'ANSWERED',
    'ENDED',
    'ACTIVE',
    'TALKING',
    'READY',
    'DONE',
  ],
  warning: [
    'GENERATED',
    'ASSIGNED',
    'OPEN',
    'QUEUED',
    'RINGING',
    'PENDING',
    'UNCERTAIN',
    'UNASSIGNED',
    'ONLY',
    'PAUSED',
    'STAGED',
    'SCHEDULED',
    'STARTING',
    'FULL',
  ],
  danger: ['REJECTED', 'FAILED', 'MISSED', 'LOST', 'INVALID', 'DOWN', 'STOPPED'],
  primary: ['RUNNING', 'STAGING', 'FOLLOWING', 'ACCEPTED', 'SUBMITTED', 'SENDING', 'SENT', 'INBOUND', 'UP'],
  info: [],
}

/** The colour of an enum value's tag; grey for what needs no attention. */
export function colourOf(state: string): Colour {
  const word = state.split('_').at(-1) ?? ''
  return (Object.keys(COLOURS) as Colour[]).find((colour) => COLOURS[colour].includes(word)) ?? 'info'
}
