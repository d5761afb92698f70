import { join } from "node:path";

import { PodContainers } from "./kubelet-containers.ts";
import type { Note } from "./kubelet-events.ts";
import type { ContainerLog } from "./kubelet-log.ts";
import type { ContainerProcess } from "./kubelet-process.ts";
import type { Problem, StartContext } from "./kubelet-start.ts";
import {
  newRecord,
  phaseOf,
  statusOf,
  type ContainerRecord,
  type PodRecord,
} from "./kubelet-status.ts";
import {
  isSidecar,
  specOf,
  whereOf,
  type ContainerState,
  type Volume,
  type Where,
} from "./kubelet-types.ts";
import { writeVolume, type IssueToken } from "./kubelet-volumes.ts";
import type { Objects, Pod } from "./objects.ts";
import type { Timings } from "./timings.ts";

/** What a pod's keeper needs of its node. */
export interface Ground extends Pick<StartContext, "images" | "pulls" | "isUserKept"> {
  readonly objects: Objects;
  readonly timings: Timings;
  readonly directory: string;
  readonly hostIp: string;
  readonly issueToken: IssueToken;
  /** Resolves while the kubelet runs; waits while it is frozen. */
  readonly awake: () => Promise<void>;
  readonly note: (pod: Pod, note: Note) => void;
  readonly allocateIp: () => string;
  readonly track: (process: ContainerProcess) => void;
}

/** Why a pod is ended by its kubelet though nobody deleted it. */
export interface Verdict {
  readonly note: Note;
  readonly reason: string;
  readonly message: string;
}

/** Brings one pod up, watches it, and ends it. */
export class PodKeeper {
  readonly pod: Pod;
  readonly #ground: Ground;
  readonly #where: Where;
  readonly #record: PodRecord;
  readonly #containers: PodContainers;
  readonly #stop = new AbortController();
  #graceSeconds: number;

  constructor(pod: Pod, ground: Ground) {
    this.pod = pod;
    this.#ground = ground;
    this.#where = whereOf(pod);
    this.#record = newRecord(pod, ground.hostIp);
    this.#graceSeconds = specOf(pod).terminationGracePeriodSeconds ?? 30;
    this.#containers = new PodContainers(pod, this.#record, {
      ground,
      signal: this.#stop.signal,
      volumes: this.#volumeDirectory(),
      post: () => this.#post(),
      write: () => this.#write(),
      current: () => this.#current(),
    });
  }

  /** By container; the first is the latest. */
  get logs(): ReadonlyMap<string, readonly ContainerLog[]> {
    return this.#containers.logs;
  }

  /** Resolves once the pod has ended and, if it was deleted, is gone. */
  async run(): Promise<void> {
    try {
      await this.#post();
      void this.#watchDeadline();
      await this.#bringUp();
      await this.#containers.until(() => this.#containers.hasEnded());
      await this.#finish();
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error;
      await this.#shutDown();
    }
    if (this.#current()?.metadata.deletionTimestamp !== undefined) {
      this.#ground.objects.delete("pods", this.#where, { graceSeconds: 0 });
    }
  }

  /** The pod is to go, within that grace; a second call may only be quicker. */
  requestStop(graceSeconds: number | undefined): void {
    this.#graceSeconds = Math.min(this.#graceSeconds, graceSeconds ?? this.#graceSeconds);
    this.#stop.abort();
    this.#containers.notify();
  }

  /** The kubelet ends the pod: its deadline is over, or the node is short of something. */
  condemn(verdict: Verdict): void {
    if (this.#stop.signal.aborted || this.#record.verdict !== undefined) return;
    this.#record.verdict = { reason: verdict.reason, message: verdict.message };
    this.#ground.note(this.pod, verdict.note);
    this.requestStop(undefined);
  }

  /** Writes the status again, as after a time in which nobody heard of the kubelet. */
  repost(): void {
    this.#write();
  }

  processOf(container: string): ContainerProcess | undefined {
    return this.#containers.processOf(container);
  }

  kill(): void {
    this.#containers.kill();
  }

  /** What these volumes show has changed. */
  refresh(isMeant: (volume: Volume) => boolean): void {
    if (this.#record.hasSandbox)
      this.#writeVolumes((specOf(this.pod).volumes ?? []).filter(isMeant));
  }

  async #bringUp(): Promise<void> {
    const { timings, allocateIp } = this.#ground;
    await this.#mount();
    await this.#containers.sleep(timings.sandboxMs);
    this.#record.hasSandbox = true;
    await this.#post();
    this.#record.podIp = allocateIp();
    for (const record of this.#record.init) {
      await this.#containers.start(record);
      if (isSidecar(record.container)) continue;
      await this.#containers.until(() => record.state.terminated !== undefined);
      if (record.state.terminated?.exitCode !== 0) return;
    }
    const failed: [ContainerRecord, Problem][] = [];
    for (const record of this.#record.main) {
      const problem = await this.#containers.try(record);
      if (problem !== undefined) failed.push([record, problem]);
    }
    if (failed.length < this.#record.main.length) await this.#post();
    await Promise.all(failed.map(([record, problem]) => this.#containers.start(record, problem)));
  }

  async #mount(): Promise<void> {
    const { syncMs, retryMs } = this.#ground.timings;
    for (let waitMs = syncMs; !this.#writeVolumes(specOf(this.pod).volumes ?? []); waitMs *= 2) {
      await this.#containers.sleep(Math.min(waitMs, retryMs * 10));
      await this.#ground.awake();
    }
  }

  #writeVolumes(volumes: readonly Volume[]): boolean {
    const { objects, issueToken, directory } = this.#ground;
    let isDone = true;
    for (const volume of volumes) {
      try {
        const claims = join(directory, "claims");
        const context = { objects, issueToken, directory: this.#volumeDirectory(), claims };
        writeVolume(this.pod, volume, context);
      } catch (error) {
        isDone = false;
        const why = error instanceof Error ? error.message : String(error);
        const message = `MountVolume.SetUp failed for volume "${volume.name}" : ${why}`;
        this.#ground.note(this.pod, { type: "Warning", reason: "FailedMount", message });
      }
    }
    return isDone;
  }

  /** The containers ended by themselves: sidecars have to go, then the rest is cleared away, and only then the phase is told. */
  async #finish(): Promise<void> {
    const containers = this.#containers;
    containers.isEnding = true;
    const sidecars = containers.runningSidecars();
    if (sidecars.length > 0) {
      containers.noteKilling(sidecars);
      await this.#post();
      await containers.terminate(() => this.#graceMs());
      this.#record.hasSandbox = false;
    }
    await this.#post();
    await containers.sleep(this.#ground.timings.finishMs);
    this.#record.hasSandbox = false;
    this.#record.phase = phaseOf(this.#record);
    await this.#post();
  }

  /** The pod was deleted or condemned. One that never started is told as it began, then as unknown. */
  async #shutDown(): Promise<void> {
    this.#containers.isEnding = true;
    await this.#ground.awake();
    const record = this.#record;
    const all = [...record.init, ...record.main];
    const hasStarted = all.some(({ containerId }) => containerId !== undefined);
    record.generation = this.#current()?.metadata.generation ?? record.generation;
    this.#containers.noteKilling(this.#containers.running());
    const reason = record.init.length > 0 ? "PodInitializing" : "ContainerCreating";
    for (const one of all) if (one.state.waiting !== undefined) one.state = { waiting: { reason } };
    this.#write();
    await this.#containers.terminate(() => this.#graceMs());
    if (!hasStarted && record.hasSandbox) {
      record.hasSandbox = false;
      await this.#post();
    }
    record.keepsConditions = !hasStarted && record.verdict === undefined;
    for (const one of all) {
      if (one.state.terminated === undefined) one.state = { terminated: unknownEnd() };
    }
    record.hasSandbox = false;
    record.phase = phaseOf(record);
    record.isVerdictTold = true;
    await this.#post();
  }

  async #watchDeadline(): Promise<void> {
    const { activeDeadlineSeconds } = specOf(this.pod);
    if (activeDeadlineSeconds === undefined) return;
    const ms = activeDeadlineSeconds * this.#ground.timings.deadlineSecondMs;
    await this.#containers.sleep(ms).catch(() => {});
    await this.#ground.awake();
    if (this.#stop.signal.aborted || this.#containers.isEnding) return;
    const reason = "DeadlineExceeded";
    const message = "Pod was active on the node longer than the specified deadline";
    this.condemn({ reason, message, note: { type: "Normal", reason, message } });
  }

  async #post(): Promise<void> {
    await this.#ground.awake();
    if (!this.#containers.isEnding) this.#stop.signal.throwIfAborted();
    this.#write();
  }

  #write(): void {
    if (this.#current() === undefined) return;
    const isUp = this.#record.phase === "Pending" && phaseOf(this.#record) === "Running";
    if (isUp) this.#record.phase = "Running";
    this.#ground.objects.mutate("pods", this.#where, (pod) => {
      pod.status = statusOf(pod, this.#record);
    });
  }

  /** The pod as the API has it; another one of its name is not it. */
  #current(): Pod | undefined {
    const pod = this.#ground.objects.get("pods", this.#where.name, this.#where.namespace);
    return pod?.metadata.uid === this.pod.metadata.uid ? pod : undefined;
  }

  #graceMs(): number {
    return this.#graceSeconds * this.#ground.timings.graceSecondMs;
  }

  #volumeDirectory(): string {
    return join(this.#ground.directory, "pods", this.pod.metadata.uid, "volumes");
  }
}

/** What is told of a container that never came to be. */
function unknownEnd() {
  const end: NonNullable<ContainerState["terminated"]> = {
    exitCode: 137,
    reason: "ContainerStatusUnknown",
    message: "The container could not be located when the pod was terminated",
  };
  return Object.assign(end, { startedAt: null, finishedAt: null });
}
