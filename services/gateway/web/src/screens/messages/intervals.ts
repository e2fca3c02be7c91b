/** How often a reminder comes again, in minutes; 0 for once. */
export const INTERVALS = [0, 60, 1440, 10080, 43200]
