import type { WorkerId } from "#job/id.ts";
import type { ListedWorker, Provider } from "#provider/provider.ts";
import type { Worker } from "#worker/worker.ts";
import type { WorkerEnds } from "./reap-end.ts";
import { workerDied } from "./reap-silence.ts";
import { type Parts, textOf } from "./start-parts.ts";
import type { Tasks } from "./tasks.ts";

/** Compares what providers run with what the store knows (DESIGN G12). */
export interface Lists {
  round(): Promise<void>;
}

interface ListOptions {
  readonly ends: WorkerEnds;
  readonly tasks: Tasks;
  readonly isStarting: (id: WorkerId) => boolean;
}

export function createLists(parts: Parts, options: ListOptions): Lists {
  /** Seen once without a live record; an orphan when it is seen so again. */
  const suspects = new Map<string, ReadonlySet<WorkerId>>();
  return {
    async round() {
      for (const name of suspects.keys()) {
        if (parts.providers.find(name) === undefined) suspects.delete(name);
      }
      await Promise.all(
        parts.providers.list().map(async (provider) => {
          // The store is read first, so that whatever was created before is in the list.
          const known = await parts.store.listLiveWorkers();
          const own = known.filter((worker) => worker.provider === provider.name);
          const listed = await list(parts, provider);
          if (listed === undefined) return;
          for (const worker of own) await compare(parts, options, { worker, provider, listed });
          const before = suspects.get(provider.name) ?? new Set();
          const strangers = await strangersOf(parts, listed, own);
          suspects.set(provider.name, new Set(strangers));
          for (const id of strangers)
            if (before.has(id)) stopOrphan(parts, options, { id, provider });
        }),
      );
    },
  };
}

async function list(
  parts: Parts,
  provider: Provider,
): Promise<readonly ListedWorker[] | undefined> {
  try {
    return await provider.listWorkers();
  } catch (error) {
    parts.log.warn({ provider: provider.name, err: textOf(error) }, "cannot list workers");
    return undefined;
  }
}

/** A live worker that its provider does not run any more has died; one whose start's answer was lost gets its uid. */
async function compare(
  parts: Parts,
  options: ListOptions,
  at: {
    readonly worker: Worker;
    readonly provider: Provider;
    readonly listed: readonly ListedWorker[];
  },
): Promise<void> {
  const { worker, provider, listed } = at;
  const entry = listed.find(({ id }) => id === worker.id);
  const { resourceUid: uid } = worker;
  if (uid === undefined) {
    if (entry === undefined || worker.state === "stopping" || options.isStarting(worker.id)) return;
    await parts.store.recordCreated(worker.id, entry.uid, parts.now());
    return;
  }
  if (entry?.uid === uid && entry.isRunning) return;
  options.tasks.run(worker.id, async () => {
    if ((await provider.confirmDead(worker.id, uid)) !== "dead") return;
    const isExpected = worker.state !== "starting" && worker.jobs.length === 0;
    await options.ends.end(worker.id, isExpected ? undefined : workerDied(worker));
  });
}

/** Listed workers whose record is over or was never there. */
async function strangersOf(
  parts: Parts,
  listed: readonly ListedWorker[],
  own: readonly Worker[],
): Promise<readonly WorkerId[]> {
  const live = new Set(own.map((worker) => worker.id));
  const strangers: WorkerId[] = [];
  for (const { id } of listed) {
    if (live.has(id)) continue;
    // The intent is stored before the create call, so a worker of this moment is found here.
    const record = await parts.store.findWorker(id);
    if (record === undefined || record.state === "ended") strangers.push(id);
  }
  return strangers;
}

function stopOrphan(
  parts: Parts,
  options: ListOptions,
  { id, provider }: { readonly id: WorkerId; readonly provider: Provider },
): void {
  options.tasks.run(id, async () => {
    parts.log.warn({ workerId: id, provider: provider.name }, "stopping an orphan");
    parts.metrics?.orphanStopped(provider.name);
    await provider.stopWorker(id, parts.limits.stopGraceMs);
  });
}
