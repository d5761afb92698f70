import type { AttemptId } from "#job/id.ts";

/** Names of what belongs to all logs of an instance, in one slot of a cluster. */
export interface SharedKeys {
  /** Set of attempts whose logs have not ended. */
  readonly open: string;
  /** Attempts whose logs have ended and are not sealed, by when they ended. */
  readonly ended: string;
  /** Attempts whose logs have ended, by when they expire. */
  readonly expiry: string;
  /** What each log holds, and the sums of it. */
  readonly bytes: string;
  readonly sums: string;
  /** Which process looks after ended logs. */
  readonly leader: string;
}

/** Names of what belongs to one log, in a slot of its own. */
export interface LogKeys {
  readonly meta: string;
  readonly stream: string;
  /** Channel on which its changes are told. */
  readonly news: string;
}

export function sharedKeys(instance: string): SharedKeys {
  const name = (last: string): string => `hodei:{${instance}}:logs:${last}`;
  return {
    open: name("open"),
    ended: name("ended"),
    expiry: name("expiry"),
    bytes: name("bytes"),
    sums: name("sums"),
    leader: name("leader"),
  };
}

export function logKeys(instance: string, attempt: AttemptId): LogKeys {
  const name = `hodei:log:${instance}:{${attempt}}`;
  return { meta: name, stream: `${name}:stream`, news: newsOf(instance, attempt) };
}

export function segmentKey(instance: string, attempt: AttemptId, name: string): string {
  return `hodei:log:${instance}:{${attempt}}:${name}`;
}

function newsOf(instance: string, attempt: AttemptId): string {
  return `hodei:log:${instance}:{${attempt}}:news`;
}
