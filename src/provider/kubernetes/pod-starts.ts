import type { V1Pod } from "@kubernetes/client-node";
import { setTimeout as wait } from "node:timers/promises";
import type { Failure } from "#job/failure.ts";
import type { WorkerId } from "#job/id.ts";
import { type StartedWorker, StartError, type WorkerSpec } from "#provider/provider.ts";
import { denialOf } from "./classify-denial.ts";
import { isDeleting } from "./classify-pod.ts";
import { InfrastructureError } from "./infrastructure-apply.ts";
import { describeDenial, isKubeError, KubeError } from "./kube-error.ts";
import { keys, labelValueOf, podNameOf, secretNameOf } from "./names.ts";
import { type PodGround, placeOf } from "./pod-ground.ts";
import { foundIn, isOver } from "./pod-state.ts";
import { buildPod, type PodPlace } from "./pod.ts";
import { buildSecret } from "./secret.ts";

/** A quota that many write at a time answers "conflict" instead of counting. */
const maxConflicts = 8;
const conflictPauseMs = 50;
const mostSettleMs = 5_000;

interface Start {
  readonly abort: AbortController;
  readonly outcome: Promise<StartedWorker>;
}

/** Starts workers: the Secret first, then the pod, so that no pod waits for its Secret; each start once. */
export class PodStarts {
  readonly #ground: PodGround;
  readonly #running = new Map<WorkerId, Start>();

  constructor(ground: PodGround) {
    this.#ground = ground;
  }

  isStarting(id: WorkerId): boolean {
    return this.#running.has(id);
  }

  /** Resolves when no start of that id is under way, whatever became of it. */
  async settled(id: WorkerId): Promise<void> {
    await this.#running.get(id)?.outcome.catch(() => undefined);
  }

  /** Waits for the starts under way, but not long: what they leave, the next server finds. */
  async settleAll(): Promise<void> {
    const outcomes = [...this.#running.values()].map(({ outcome }) => outcome);
    const waited = new AbortController();
    const long = wait(mostSettleMs, undefined, { signal: waited.signal }).catch(() => undefined);
    await Promise.race([Promise.allSettled(outcomes), long]);
    waited.abort();
  }

  async start(spec: WorkerSpec, signal: AbortSignal): Promise<StartedWorker> {
    signal.throwIfAborted();
    const { abort, outcome } = this.#running.get(spec.workerId) ?? this.#begin(spec);
    const cancelled = Promise.withResolvers<never>();
    const onAbort = (): void => {
      abort.abort(signal.reason);
      cancelled.reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort);
    try {
      // A call that is under way is not cut: whether it made something has to be known, so that it can be removed.
      return await Promise.race([outcome, cancelled.promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  #begin(spec: WorkerSpec): Start {
    const abort = new AbortController();
    const outcome = this.#run(spec, abort.signal).finally(() =>
      this.#running.delete(spec.workerId),
    );
    // Its caller may have gone.
    outcome.catch(() => undefined);
    const start = { abort, outcome };
    this.#running.set(spec.workerId, start);
    return start;
  }

  async #run(spec: WorkerSpec, signal: AbortSignal): Promise<StartedWorker> {
    const { config, places, watcher } = this.#ground;
    const { workerId: id, tenant } = spec;
    const uid = places.find(id)?.uid;
    if (uid !== undefined && watcher.find(id)?.isRunning !== false) return { uid };
    if (config.dynamicNamespaces && tenant === undefined) throw new StartError(nobodys(id));
    const place = placeOf(this.#ground, tenant);
    places.begin(id, { ...place, uid: undefined, hasSecret: false });
    watcher.add(place.namespace);
    watcher.expectStart(id);
    try {
      const created = await this.#createAll(spec, place, signal);
      places.created(id, created);
      signal.throwIfAborted();
      return { uid: created };
    } catch (error) {
      if (signal.aborted) watcher.expectGone(id);
      const isNothing = error instanceof StartError;
      if (signal.aborted || isNothing) await this.#undo(id, { mayHavePod: !isNothing });
      throw signal.aborted ? signal.reason : error;
    }
  }

  /** Nothing is left of a start that came to nothing; what cannot be removed now, the reaper removes. */
  async #undo(id: WorkerId, { mayHavePod }: { readonly mayHavePod: boolean }): Promise<void> {
    const { api, places, log } = this.#ground;
    const place = places.find(id);
    if (place === undefined) return;
    const { namespace, uid, hasSecret } = place;
    try {
      if (mayHavePod) await api.deletePod({ namespace, name: podNameOf(id), uid }, 0);
      if (hasSecret) await api.deleteSecret(namespace, secretNameOf(id));
      places.forget(id);
    } catch (error) {
      log.warn({ workerId: id, namespace, err: error }, "cannot undo a start");
    }
  }

  async #createAll(spec: WorkerSpec, place: PodPlace, signal: AbortSignal): Promise<string> {
    const { config, namespaces } = this.#ground;
    for (let tries = 1; ; tries++) {
      try {
        await namespaces.ensure(place, spec.tenant, spec.serverCa);
        signal.throwIfAborted();
        if (!config.attestation) await this.#createSecret(spec, place);
        signal.throwIfAborted();
        return await this.#createPod(spec, place);
      } catch (error) {
        if (tries > 1 || !isNamespaceGone(error)) throw startErrorOf(error);
        // It was there; somebody has deleted it since.
        namespaces.forget(place.namespace);
      }
    }
  }

  async #createSecret(spec: WorkerSpec, place: PodPlace): Promise<void> {
    const { api, config, places } = this.#ground;
    const secret = buildSecret(config, spec, place);
    const name = secretNameOf(spec.workerId);
    try {
      await api.createSecret(secret);
      places.noteSecret(spec.workerId, { hasSecret: true });
    } catch (error) {
      const isTaken = isTakenName(error);
      const isUnknown = error instanceof KubeError && error.isOutcomeUnknown;
      if (!isTaken && !isUnknown) throw error;
      const pod = isTaken
        ? await api.findPod(place.namespace, podNameOf(spec.workerId))
        : undefined;
      // The create of the pod finds it again, and says whether it is the same worker.
      if (pod !== undefined) return;
      places.noteSecret(spec.workerId, { hasSecret: true });
      await api.deleteSecret(place.namespace, name);
      await api.createSecret(secret).catch((again: unknown) => {
        // The call whose answer was lost came after all: with the same content.
        if (!(isUnknown && isTakenName(again))) throw again;
      });
    }
  }

  async #createPod(spec: WorkerSpec, place: PodPlace): Promise<string> {
    const pod = buildPod(this.#ground.config, spec, place);
    for (let conflicts = 0, losses = 0; ;) {
      try {
        return uidOf(await this.#ground.api.createPod(pod));
      } catch (error) {
        if (!(error instanceof KubeError)) throw error;
        if (isTakenName(error)) return await this.#adopt(spec, place, error);
        if (error.status === 409 && conflicts++ < maxConflicts) {
          await wait(conflictPauseMs * conflicts * (0.5 + Math.random()));
          continue;
        }
        if (!error.isOutcomeUnknown || losses++ > 0) throw error;
        const found = await this.#ground.api.findPod(place.namespace, podNameOf(spec.workerId));
        if (found !== undefined) return this.#sameWorker(found, spec, error);
        // The name is the worker's own: whichever call comes first makes it, and the other one finds it.
      }
    }
  }

  async #adopt(spec: WorkerSpec, place: PodPlace, taken: KubeError): Promise<string> {
    const pod = await this.#ground.api.findPod(place.namespace, podNameOf(spec.workerId));
    if (pod === undefined) throw new StartError(denialOf(taken), taken);
    return this.#sameWorker(pod, spec, taken);
  }

  #sameWorker(pod: V1Pod, { workerId }: WorkerSpec, error: KubeError): string {
    const labels = pod.metadata?.labels ?? {};
    const isOurs =
      labels[keys.managed] === "true" &&
      labels[keys.instance] === labelValueOf(this.#ground.instanceId) &&
      foundIn(pod)?.id === workerId;
    if (!isOurs || isDeleting(pod) || isOver(pod)) {
      const taken = denialOf(error);
      const state = isOurs ? "and is ending" : "and is not ours";
      throw new StartError({ ...taken, message: `${taken.message} ${state}` }, error);
    }
    return uidOf(pod);
  }
}

function uidOf(pod: V1Pod): string {
  const uid = pod.metadata?.uid;
  if (uid === undefined) throw new Error("the API server answered a pod without uid");
  return uid;
}

function isTakenName(error: unknown): boolean {
  return isKubeError(error, 409) && error.reason === "AlreadyExists";
}

function isNamespaceGone(error: unknown): boolean {
  return isKubeError(error, 404) || (error instanceof KubeError && error.isNamespaceTerminating);
}

/** What is certain not to have made a worker says so; whatever else stays as it is. */
function startErrorOf(error: unknown): unknown {
  if (error instanceof KubeError && (!error.isOutcomeUnknown || isOfSecret(error))) {
    return new StartError(denialOf(error), error);
  }
  if (error instanceof InfrastructureError) return new StartError(unprepared(error), error);
  return error;
}

/** Without its Secret no pod was asked for. */
function isOfSecret({ call }: KubeError): boolean {
  return call.includes("/secrets");
}

function unprepared(error: InfrastructureError): Failure {
  const { kind, hint = "", denial } = error;
  return {
    stage: "creating",
    cause: "start_failed",
    blame: "provider",
    message: error.message,
    userCodeMayHaveRun: false,
    evidence: {
      kind,
      hint,
      ...(denial === undefined ? {} : { missing: describeDenial(denial) }),
    },
  };
}

function nobodys(id: WorkerId): Failure {
  return {
    stage: "creating",
    cause: "start_failed",
    blame: "policy",
    message: `worker ${id} has no tenant, and every tenant's workers live in a namespace of their own`,
    userCodeMayHaveRun: false,
    evidence: { hint: "Give the entries of HODEI_WARM_POOL a tenant." },
  };
}
