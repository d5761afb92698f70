import { HodeiError } from "#error.ts";
import { isWorkerId } from "#job/id.ts";
import type { WorkerServiceService } from "#rpc/gen/hodei/v1/worker_service.ts";
import type { Handlers } from "#rpc/serve.ts";
import type { Scheduler } from "#scheduler/scheduler.ts";
import type { Page, PageQuery, WorkerQuery, WorkerStore } from "#store/store.ts";
import { hasRole } from "#tenant/identity.ts";
import type { Worker } from "#worker/worker.ts";
import type { Audit } from "./audit.ts";
import type { Caller } from "./authenticate.ts";
import { workerStateFromWire, workerToWire } from "./convert.ts";
import { checkText, pageSizeOf, pageTokenOf, specLimits } from "./validate.ts";

const mostScans = 50;

export interface WorkerServiceOptions {
  readonly store: Pick<WorkerStore, "findWorker" | "listWorkers">;
  readonly scheduler: Pick<Scheduler, "attempts" | "drainWorker" | "terminateWorker">;
  readonly audit: Audit;
}

/** Shows and ends workers. */
export function workerService(
  options: WorkerServiceOptions,
): Handlers<typeof WorkerServiceService, Caller> {
  const { store, scheduler, audit } = options;
  const show = (worker: Worker): ReturnType<typeof workerToWire> =>
    workerToWire(worker, scheduler.attempts.isConnected(worker.id));

  return {
    async listWorkers(request, call) {
      checkText("provider", request.provider, specLimits.nameCharacters);
      const query = {
        states: request.states.map((state) => {
          const known = workerStateFromWire(state);
          if (known === undefined)
            throw new HodeiError("invalid_argument", "states: unknown state");
          return known;
        }),
        provider: request.provider === "" ? undefined : request.provider,
        tenant: hasRole(call.caller, "operator") ? undefined : call.caller.tenant,
      };
      const page = await listWorkers(store, query, {
        pageSize: pageSizeOf(request.pageSize),
        pageToken: pageTokenOf(request.pageToken),
      });
      return { workers: page.rows.map(show), nextPageToken: page.nextPageToken ?? "" };
    },

    async getWorker(request, call) {
      return { worker: show(await getWorker(store, request.workerId, call.caller)) };
    },

    drainWorker: async (request, call) =>
      audit.around(call, request.workerId, async () => {
        const { id } = await getWorker(store, request.workerId, call.caller);
        return {
          worker: show(await scheduler.drainWorker(id, `drained by ${call.caller.subject}`)),
        };
      }),

    terminateWorker: async (request, call) =>
      audit.around(call, request.workerId, async () => {
        checkText("reason", request.reason, specLimits.reasonCharacters);
        const { id } = await getWorker(store, request.workerId, call.caller);
        const reason = request.reason || `terminated by ${call.caller.subject}`;
        return { worker: show(await scheduler.terminateWorker(id, reason)) };
      }),
  };
}

/**
 * A page that ends at one of its own rows. The store looks at so many workers at a time, whoever they belong to, and goes on from the last one; whoever may not
 * see all of them gets no place that is another tenant's as long as it can be helped.
 */
async function listWorkers(
  store: Pick<WorkerStore, "listWorkers">,
  query: Omit<WorkerQuery, keyof PageQuery>,
  { pageSize, pageToken }: PageQuery,
): Promise<Page<Worker>> {
  const rows: Worker[] = [];
  let next = pageToken;
  for (let round = 0; round < mostScans; round++) {
    const left = pageSize - rows.length;
    const page = await store.listWorkers({ ...query, pageSize: left, pageToken: next });
    rows.push(...page.rows);
    next = page.nextPageToken;
    if (next === undefined) return { rows, nextPageToken: undefined };
    if (rows.length >= pageSize) break;
  }
  // Every store goes on behind the worker that a token names.
  return { rows, nextPageToken: rows.at(-1)?.id ?? next };
}

/** A worker that the caller may see; the same error for none and for another tenant's (DESIGN G16). */
async function getWorker(
  store: Pick<WorkerStore, "findWorker">,
  id: string,
  caller: Caller,
): Promise<Worker> {
  const worker = isWorkerId(id) ? await store.findWorker(id) : undefined;
  const isShown = worker?.tenant === caller.tenant || hasRole(caller, "operator");
  if (worker === undefined || !isShown) {
    throw new HodeiError("not_found", `there is no worker ${id.slice(0, 64)}`);
  }
  return worker;
}
