import type { Call } from "#rpc/edge.ts";
import type { AccessStore, NewAuditEntry, SubmitAudit } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import type { Caller } from "./authenticate.ts";
import { outcomeOf } from "./status.ts";

/** What a call did. */
export interface Deed {
  readonly target: string;
  readonly outcome: string;
}

/** Writes who changed what. Entries of one turn of the event loop become one step of the store. */
export interface Audit {
  /** The entry of a submit, which the store writes in the submit's own step. */
  submitEntry(call: Call<Caller>): SubmitAudit;
  /** Resolves once the entry is durable. */
  record(call: Call<Caller>, deed: Deed): Promise<void>;
  /** An event without a call, such as a refused one-time token. */
  append(entry: Omit<NewAuditEntry, "expiresAt">): Promise<void>;
  /** Runs a step and records what came of it, also when it was refused. */
  around<Result>(call: Call<Caller>, target: string, step: () => Promise<Result>): Promise<Result>;
  /** Resolves once everything recorded so far is stored. */
  flush(): Promise<void>;
}

export interface AuditOptions {
  readonly store: Pick<AccessStore, "appendAudit">;
  readonly log: Logger;
  readonly ttlMs: number;
  readonly now: () => number;
}

export function createAudit(options: AuditOptions): Audit {
  const { store, now, ttlMs } = options;
  let gathered: NewAuditEntry[] = [];
  let next: Promise<void> | undefined;
  let last: Promise<void> = Promise.resolve();

  const append: Audit["append"] = (entry) => {
    gathered.push({ ...entry, expiresAt: entry.at + ttlMs });
    next ??= Promise.resolve().then(async () => {
      const entries = gathered;
      gathered = [];
      next = undefined;
      await store.appendAudit(entries);
    });
    last = next;
    return next;
  };
  const entryOf = (call: Call<Caller>): Omit<SubmitAudit, "expiresAt"> => ({
    at: now(),
    actor: call.caller.subject,
    tenant: call.caller.tenant,
    action: call.method.slice(call.method.lastIndexOf("/") + 1),
    peer: call.peer,
    correlationId: call.correlationId,
  });
  const record: Audit["record"] = (call, deed) =>
    append({ ...entryOf(call), target: deed.target.slice(0, 256), outcome: deed.outcome });
  return {
    submitEntry(call) {
      const entry = entryOf(call);
      return { ...entry, expiresAt: entry.at + ttlMs };
    },
    record,
    append,
    async around(call, target, step) {
      try {
        const result = await step();
        await record(call, { target, outcome: "OK" });
        return result;
      } catch (error) {
        await record(call, { target, outcome: outcomeOf(error) }).catch((cause: unknown) => {
          options.log.error({ err: cause }, "an audit entry was not stored");
        });
        throw error;
      }
    },
    async flush() {
      await last.catch(() => undefined);
    },
  };
}
