import type { JobId } from "#job/id.ts";
import type { Replica, StoreChange } from "#store/store.ts";
import { type Lead, startLead } from "./lead.ts";
import { type Duties, type LoopOptions, startDuties } from "./start-loops.ts";
import type { SchedulerOptions } from "./start-options.ts";
import type { Parts } from "./start-parts.ts";

/** The duties of a server, while it has them: always on a store of its own, in its terms as leader on one that replicas share. */
export interface HeldDuties extends Duties {
  readonly isLeading: boolean;
  /** Those that share the store; none where it is not shared. */
  readonly replicas: readonly Replica[];
  /** Somebody may have given the lead up. */
  wakeLead(): void;
}

/** Begins the duties that are this server's. `onLead` is told whether they are, whenever that changes. */
export async function holdDuties(
  parts: Parts,
  options: LoopOptions & { readonly replica: SchedulerOptions["replica"] | undefined },
  onLead: (isLeading: boolean) => void,
): Promise<HeldDuties> {
  const { replicas } = parts.store;
  if (replicas === undefined || options.replica === undefined) {
    onLead(true);
    const duties = await startDuties(parts, options);
    return { ...duties, isLeading: true, replicas: [], wakeLead: () => undefined };
  }
  let current: Duties | undefined;
  const lead: Lead = await startLead({
    replicas,
    self: options.replica,
    log: parts.log,
    monotonic: parts.monotonic,
    onChange: onLead,
    async begin(store) {
      const duties = await startDuties({ ...parts, store }, options);
      current = duties;
      return {
        async [Symbol.asyncDispose]() {
          if (current === duties) current = undefined;
          await duties[Symbol.asyncDispose]();
        },
      };
    },
  });
  return {
    get isLeading() {
      return lead.isLeading;
    },
    get replicas() {
      return lead.replicas;
    },
    wakeLead: () => lead.wake(),
    wakeProvision: () => current?.wakeProvision(),
    wakeReap: () => current?.wakeReap(),
    watches: {
      start: (provider) => current?.watches.start(provider),
      stop: async (name) => current?.watches.stop(name),
    },
    async finishRound() {
      await current?.finishRound();
    },
    [Symbol.asyncDispose]: () => lead[Symbol.asyncDispose](),
  };
}

/** What another server did concerns this one too. What this one did comes back as well, and finds that nothing is left to do. */
export function followChange(parts: Parts, duties: HeldDuties, change: StoreChange): void {
  parts.attempts.follow(change);
  switch (change.kind) {
    case "job":
      parts.watch.touch([change.id as JobId]);
      return;
    case "class":
      duties.wakeProvision();
      return;
    case "lead":
      duties.wakeLead();
      return;
    case "missed":
      duties.wakeLead();
      duties.wakeProvision();
      duties.wakeReap();
      return;
    // The reap loop looks at workers every moment anyway.
    case "worker":
    case "cancel":
    case "provider":
  }
}
