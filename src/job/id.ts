/**
 * Ids of jobs and workers are 53-bit numbers, milliseconds since 2025 and a counter, written in 11 characters of Crockford's base 32 behind
 * a letter. So they are ordered by time, valid in Kubernetes names and labels, safe in paths, and an integer key in a store.
 * Ids of attempts are 128 random bits: whoever knows one was given it.
 */
export type JobId = string & { readonly brand: "JobId" };
export type WorkerId = string & { readonly brand: "WorkerId" };
export type AttemptId = string & { readonly brand: "AttemptId" };

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
const digits = 11;
const epoch = Date.UTC(2025, 0, 1);
const perMillisecond = 4096;

const jobPattern = /^j[0-9a-hjkmnp-tv-z]{11}$/;
const workerPattern = /^w[0-9a-hjkmnp-tv-z]{11}$/;
const attemptPattern = /^a[0-9a-hjkmnp-tv-z]{26}$/;

export function isJobId(text: string): text is JobId {
  return jobPattern.test(text);
}

export function isWorkerId(text: string): text is WorkerId {
  return workerPattern.test(text);
}

export function isAttemptId(text: string): text is AttemptId {
  return attemptPattern.test(text);
}

/** Makes numbers that grow, also when the clock does not. One per process and kind of id. */
export function createSequence(last = 0): (now: number) => number {
  let previous = last;
  return (now) => {
    previous = Math.max(previous + 1, (now - epoch) * perMillisecond);
    return previous;
  };
}

/** The time from which ids of that number can be, in milliseconds since 1970. */
export function timeOfNumber(number: number): number {
  return Math.floor(number / perMillisecond) + epoch;
}

/** The smallest number that an id made at `time` can have. */
export function numberAtTime(time: number): number {
  return Math.max(0, (time - epoch) * perMillisecond);
}

export function jobIdOf(number: number): JobId {
  return `j${encode(number)}` as JobId;
}

export function workerIdOf(number: number): WorkerId {
  return `w${encode(number)}` as WorkerId;
}

export function numberOf(id: JobId | WorkerId): number {
  let number = 0;
  for (let at = 1; at <= digits; at++) number = number * 32 + alphabet.indexOf(id.charAt(at));
  return number;
}

/** `random` gives at least 17 random bytes; a cryptographic source is required (DESIGN G8). */
export function attemptIdOf(random: Uint8Array): AttemptId {
  let text = "a";
  let bits = 0;
  let held = 0;
  for (const byte of random) {
    held = (held << 8) | byte;
    bits += 8;
    while (bits >= 5 && text.length < 27) {
      text += alphabet.charAt((held >> (bits - 5)) & 31);
      bits -= 5;
    }
    held &= 31;
  }
  return text as AttemptId;
}

function encode(number: number): string {
  let text = "";
  for (let rest = number, at = 0; at < digits; at++) {
    text = alphabet.charAt(rest % 32) + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}
