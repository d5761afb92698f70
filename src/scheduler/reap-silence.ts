import type { Failure } from "#job/failure.ts";
import type { JobId, WorkerId } from "#job/id.ts";
import type { Worker } from "#worker/worker.ts";
import type { WorkerEnds } from "./reap-end.ts";
import { type Parts, textOf } from "./start-parts.ts";

/** Judges workers that have been silent for longer than a lease (DESIGN G9). */
export interface Silence {
  judge(id: WorkerId, silentMs: number): Promise<void>;
}

export function createSilence(parts: Parts, ends: WorkerEnds): Silence {
  return {
    async judge(id, silentMs) {
      const worker = await parts.store.findWorker(id);
      if (worker?.state !== "ready" && worker?.state !== "draining") return;
      const answer = await askProvider(parts, worker);
      if (answer === "dead") {
        await ends.end(id, workerDied(worker));
        return;
      }
      const lost = await pastTolerance(parts, worker, silentMs);
      const failure = workerLost(worker, { silentMs, answer });
      const isOver = lost.length > 0 && lost.length === worker.jobs.length;
      if (isOver && answer === "alive") {
        ends.blame(worker, failure);
        // An agent that stands still has not stopped its job; while its provider can, nothing is placed again before.
        if (await isEnded(parts, worker)) {
          await ends.end(id, failure);
          return;
        }
      }
      // Only those jobs whose own tolerance has passed; the others keep their lease.
      if (lost.length > 0) await parts.attempts.loseWorker({ ...worker, jobs: lost }, failure);
      const { disconnectToleranceMs, graceMs } = parts.limits;
      const isIdle = worker.jobs.length === 0 && silentMs > disconnectToleranceMs + graceMs;
      if (isIdle || isOver) {
        await ends.stop(id, failure.message, failure);
      }
    },
  };
}

async function askProvider(parts: Parts, worker: Worker): Promise<"dead" | "alive" | "unknown"> {
  const provider = parts.providers.find(worker.provider);
  if (provider === undefined) return "unknown";
  try {
    return await provider.confirmDead(worker.id, worker.resourceUid);
  } catch (error) {
    const { id: workerId } = worker;
    parts.log.debug({ workerId, err: textOf(error) }, "cannot ask for a silent worker");
    return "unknown";
  }
}

/** Ends the worker by force; whether it is certainly gone now. */
async function isEnded(parts: Parts, worker: Worker): Promise<boolean> {
  try {
    await parts.providers.find(worker.provider)?.stopWorker(worker.id, parts.limits.stopGraceMs);
  } catch (error) {
    const { id: workerId } = worker;
    parts.log.warn({ workerId, err: textOf(error) }, "cannot stop a silent worker");
  }
  return (await askProvider(parts, worker)) === "dead";
}

async function pastTolerance(
  parts: Parts,
  worker: Worker,
  silentMs: number,
): Promise<readonly JobId[]> {
  const jobs = await Promise.all(worker.jobs.map((id) => parts.store.findJob(id)));
  return jobs.flatMap((job) => {
    if (job === undefined) return [];
    const { disconnectToleranceMs } = parts.readSpec(job.spec);
    return silentMs > disconnectToleranceMs + parts.limits.graceMs ? [job.id] : [];
  });
}

/** What a worker's attempts came to when its provider says that it is gone. */
export function workerDied(worker: Worker): Failure {
  return {
    stage: worker.readyAt === undefined ? "connecting" : "running",
    cause: "worker_died",
    blame: "node",
    message: `worker ${worker.id} on ${worker.provider} died`,
    userCodeMayHaveRun: worker.attempts > 0,
    evidence: evidenceOf(worker),
  };
}

function workerLost(
  worker: Worker,
  seen: { readonly silentMs: number; readonly answer: string },
): Failure {
  const seconds = Math.round(seen.silentMs / 1000);
  return {
    stage: "running",
    cause: "worker_lost",
    blame: "node",
    message: `worker ${worker.id} on ${worker.provider} has been silent for ${seconds} s`,
    userCodeMayHaveRun: worker.attempts > 0,
    evidence: {
      ...evidenceOf(worker),
      silent_seconds: String(seconds),
      provider_says: seen.answer,
    },
  };
}

function evidenceOf(worker: Worker): Readonly<Record<string, string>> {
  return {
    worker: worker.id,
    provider: worker.provider,
    resource: worker.resourceName,
    uid: worker.resourceUid ?? "",
    hostname: worker.hostname,
  };
}
