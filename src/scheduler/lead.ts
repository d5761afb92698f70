import { setTimeout as wait } from "node:timers/promises";
import { every } from "#every.ts";
import type { Replica, ReplicaStore, Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";

/*
 * One of the replicas on a store leads: it alone starts and ends workers, sweeps and expires. The lead is a lease in the store, judged by the store's clock. Each
 * change of the leader begins a new term, and what a leader changes is refused once its term is over: so a leader that stood still, and does not know yet that
 * it was followed, decides nothing any more. It also stops by itself when it could not renew in time.
 */

export interface LeadOptions {
  readonly replicas: ReplicaStore;
  readonly self: ReplicaSelf;
  readonly log: Logger;
  /** A clock that never jumps, in milliseconds. */
  readonly monotonic: () => number;
  /** Begins what a leader does, on a store that refuses it once its term is over. Disposing ends it. */
  readonly begin: (store: Store) => Promise<AsyncDisposable>;
  readonly onChange?: (isLeading: boolean) => void;
}

/** Who a replica is. */
export interface ReplicaSelf {
  readonly id: string;
  /** Asked at each round, since the port may be chosen late. */
  readonly address: () => string;
  readonly startedAt: number;
  /** After this long without a word from the leader another replica takes over. */
  readonly leaseMs: number;
}

/** A replica's place among the others. Disposing gives the lead up and leaves. */
export interface Lead extends AsyncDisposable {
  /** Somebody may have given the lead up. */
  wake(): void;
  readonly isLeading: boolean;
  /** Those that lived when it last looked, this one included; oldest first. */
  readonly replicas: readonly Replica[];
}

/** Rounds in one lease, so that one that fails costs nothing. */
const roundsPerLease = 5;
/** How long a leader that stops waits for what it is doing before it gives the lead up; whatever is left is refused then. */
const farewellMs = 1_000;

/** Takes part in leading; resolves after the first round, so that the only replica leads from the start. */
export async function startLead(options: LeadOptions): Promise<Lead> {
  const { replicas, self, log, monotonic } = options;
  let term: Term | undefined;
  let alive: readonly Replica[] = [];
  /** The end of the last term's duties, which the next ones wait for; the rounds do not, since they have to go on. */
  let ended: Promise<void> = Promise.resolve();

  const end = (reason: string): void => {
    if (term === undefined) return;
    const { number, duties } = term;
    term = undefined;
    log.info({ term: number, reason }, "replica leads no more");
    options.onChange?.(false);
    ended = duties.end().catch((err: unknown) => {
      log.error({ err, term: number }, "the leader's duties did not end well");
    });
  };

  const round = async (): Promise<void> => {
    const askedAt = monotonic();
    const { id, address, startedAt, leaseMs } = self;
    try {
      const told = replicas.beat({ id, address: address(), startedAt }, leaseMs);
      const [living, lead] = await Promise.all([told, replicas.lead(id, leaseMs)]);
      alive = living;
      if (lead.leader !== id) return end("another replica leads");
      if (term?.number !== lead.term) end("a new term has begun");
      const goodUntil = askedAt + leaseMs;
      if (term !== undefined) term.goodUntil = goodUntil;
      else {
        const duties = beginDuties(options, { term: lead.term, after: ended });
        term = { number: lead.term, goodUntil, duties };
        log.info({ term: lead.term, replicas: living.length }, "replica leads");
        options.onChange?.(true);
      }
    } catch (error) {
      if (term !== undefined && monotonic() >= term.goodUntil) end("it cannot renew");
      throw error;
    }
  };

  await round();
  const onError = (err: unknown): void => log.warn({ err }, "replica cannot tell that it lives");
  const loop = every({ intervalMs: self.leaseMs / roundsPerLease, onError }, round);
  return {
    wake: () => loop.wake(),
    get isLeading() {
      return term !== undefined;
    },
    get replicas() {
      return alive;
    },
    async [Symbol.asyncDispose]() {
      await loop[Symbol.asyncDispose]();
      end("the server stops");
      await Promise.race([ended, wait(farewellMs, undefined, { ref: false })]);
      await replicas.leave(self.id).catch((err: unknown) => {
        log.warn({ err }, "the lead was not given up; it runs out by itself");
      });
      await ended;
    },
  };
}

interface Term {
  readonly number: number;
  /** On the monotonic clock: until when nobody else can lead. */
  goodUntil: number;
  readonly duties: Begun;
}

interface Begun {
  end(): Promise<void>;
}

/** Begins behind the rounds, which have to go on renewing; what cannot begin is tried again. */
function beginDuties(
  options: LeadOptions,
  { term, after }: { readonly term: number; readonly after: Promise<void> },
): Begun {
  const { log, replicas } = options;
  const stop = new AbortController();
  const begin = async (): Promise<AsyncDisposable | undefined> => {
    await after;
    while (!stop.signal.aborted) {
      try {
        return await options.begin(replicas.ledBy(term));
      } catch (err) {
        log.error({ err, term }, "the leader's duties did not begin");
        // The pause ends early by an abort; that is not an error.
        await wait(retryMs, undefined, { signal: stop.signal }).catch(() => undefined);
      }
    }
    return undefined;
  };
  const begun = begin();
  return {
    async end() {
      stop.abort();
      await (await begun)?.[Symbol.asyncDispose]();
    },
  };
}

const retryMs = 1_000;
