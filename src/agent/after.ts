const longestMs = 2 ** 31 - 1;

/** A timer for any length: one that is too long for a timer is cut, and in weeks nobody can tell. */
export function after(ms: number, step: () => void): NodeJS.Timeout {
  return setTimeout(step, Math.min(Math.ceil(ms), longestMs));
}
