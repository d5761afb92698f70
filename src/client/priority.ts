/** The named priorities. */
export const priorities = { low: -100, normal: 0, high: 100, critical: 1000 } as const;
