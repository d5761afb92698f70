import type { AgentAuthOptions } from "#api/agent-service-auth.ts";
import { HodeiError } from "#error.ts";
import type { WorkerId } from "#job/id.ts";
import type { Provider } from "#provider/provider.ts";
import type { WorkerStore } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";

// What the edge asks the worker's own provider when its agent calls for the first time.

export function agentHooks(ground: {
  readonly store: Pick<WorkerStore, "findWorker">;
  /** Those that are open now. */
  readonly providers: () => readonly Provider[];
  readonly log: Logger;
}): Required<Pick<AgentAuthOptions, "attest" | "onRedeemed">> {
  const { store, providers, log } = ground;
  const providerOf = (name: string): Provider | undefined =>
    providers().find((provider) => provider.name === name);

  const forget = async (id: WorkerId): Promise<void> => {
    // Most providers keep nothing, and nobody needs to be looked up.
    if (providers().every((provider) => provider.forgetToken === undefined)) return;
    const worker = await store.findWorker(id);
    await (worker && providerOf(worker.provider)?.forgetToken?.(id));
  };

  return {
    async attest(id, token) {
      const worker = await store.findWorker(id);
      if (worker === undefined || worker.state === "ended") return false;
      const provider = providerOf(worker.provider);
      if (provider?.attest === undefined) return false;
      const { resourceUid: uid } = worker;
      // A quick agent may call before the answer of the create call is stored.
      if (uid === undefined) throw new HodeiError("unavailable", "the worker is still being made");
      try {
        return await provider.attest({ id, uid }, token);
      } catch (cause) {
        log.warn({ workerId: id, provider: provider.name, err: cause }, "cannot attest a worker");
        throw new HodeiError("unavailable", "nobody can attest the worker now", { cause });
      }
    },
    onRedeemed(id) {
      forget(id).catch((error: unknown) => {
        // Whatever is left goes with the worker.
        log.warn({ workerId: id, err: error }, "what held a used token is still there");
      });
    },
  };
}
