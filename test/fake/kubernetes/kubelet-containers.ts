import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import type { ContainerLog } from "./kubelet-log.ts";
import type { Ground } from "./kubelet-pod.ts";
import type { ContainerProcess, ProcessEnd } from "./kubelet-process.ts";
import { tryStart, type Problem, type PullBackOff } from "./kubelet-start.ts";
import type { ContainerRecord, PodRecord } from "./kubelet-status.ts";
import { isSidecar, specOf, whereOf } from "./kubelet-types.ts";
import { timestamp, type Pod } from "./objects.ts";

/** What the containers need of their pod's keeper. */
export interface Keeping {
  readonly ground: Ground;
  /** Aborts when the pod is to go. */
  readonly signal: AbortSignal;
  readonly volumes: string;
  /** Tells the status; throws once the pod is to go. */
  readonly post: () => Promise<void>;
  /** Tells the status whatever comes. */
  readonly write: () => void;
  readonly current: () => Pod | undefined;
}

/** The containers of one pod: starts them, tries again, notes their ends, restarts those that are to be, and ends them. */
export class PodContainers {
  /** By container; the first is the latest. */
  readonly logs = new Map<string, ContainerLog[]>();
  /** From here on an end is what was wanted. */
  isEnding = false;
  readonly #pod: Pod;
  readonly #record: PodRecord;
  readonly #keeping: Keeping;
  readonly #processes = new Map<ContainerRecord, ContainerProcess>();
  readonly #backOffs = new Map<ContainerRecord, PullBackOff>();
  #changed = Promise.withResolvers<void>();

  constructor(pod: Pod, record: PodRecord, keeping: Keeping) {
    this.#pod = pod;
    this.#record = record;
    this.#keeping = keeping;
  }

  /** Tries until the container has started; each problem is told at the next try. */
  async start(record: ContainerRecord, first?: Problem): Promise<void> {
    const { ground, post } = this.#keeping;
    const { syncMs, retryMs } = ground.timings;
    let problem = first ?? (await this.try(record));
    for (let waitMs = syncMs; problem !== undefined; waitMs = retryMs) {
      const isBackingOff = problem.reason === "ImagePullBackOff";
      const leftMs = isBackingOff ? (this.#backOffs.get(record)?.untilMs ?? 0) - Date.now() : 0;
      await this.sleep(Math.max(waitMs, leftMs));
      record.state = { waiting: problem };
      await post();
      problem = await this.try(record);
    }
    await post();
  }

  /** One try; the problem if it is to be tried again. */
  async try(record: ContainerRecord): Promise<Problem | undefined> {
    const { ground, signal, volumes, current } = this.#keeping;
    await ground.awake();
    signal.throwIfAborted();
    const { name } = record.container;
    const backOff = this.#backOffs.get(record) ?? { untilMs: 0, lengthMs: 0, error: "" };
    this.#backOffs.set(record, backOff);
    const result = await tryStart(current() ?? this.#pod, record, {
      ...ground,
      backOff,
      imageBackOffMs: ground.timings.retryMs,
      volumes,
      scratch: join(ground.directory, "pods", this.#pod.metadata.uid, "scratch", name),
      note: (one) => ground.note(this.#pod, one),
      sleep: (ms) => this.sleep(ms),
    });
    if (result !== undefined && "reason" in result) return result;
    this.notify();
    if (result === undefined) return undefined;
    this.#processes.set(record, result);
    this.logs.set(name, [result.log, ...(this.logs.get(name) ?? [])]);
    ground.track(result);
    void result.ended.then((end) => this.#noteEnd(record, end));
    signal.throwIfAborted();
    return undefined;
  }

  /** Whether nothing is left that the pod is for. */
  hasEnded(): boolean {
    const { init, main } = this.#record;
    const plain = init.filter(({ container }) => !isSidecar(container));
    if (plain.some(({ state }) => (state.terminated?.exitCode ?? 0) !== 0)) return true;
    return main.every((one) => one.state.terminated !== undefined && !this.#isRestarted(one));
  }

  running(): ContainerRecord[] {
    return [...this.#record.main, ...this.#record.init].filter((one) => this.#processes.has(one));
  }

  runningSidecars(): ContainerRecord[] {
    return this.running().filter(({ container }) => isSidecar(container));
  }

  processOf(name: string): ContainerProcess | undefined {
    return [...this.#processes].find(([{ container }]) => container.name === name)?.[1];
  }

  noteKilling(records: readonly ContainerRecord[]): void {
    for (const { container } of records) {
      const isInit = this.#record.init.some((one) => one.container === container);
      this.#keeping.ground.note(this.#pod, {
        type: "Normal",
        reason: "Killing",
        message: `Stopping container ${container.name}`,
        fieldPath: `spec.${isInit ? "initContainers" : "containers"}{${container.name}}`,
      });
    }
  }

  /** TERM for the containers, then for the sidecars, and KILL for what is left after the grace; the grace may shrink meanwhile. */
  async terminate(graceMs: () => number): Promise<void> {
    const startedMs = Date.now();
    const leftMs = (): number => startedMs + graceMs() - Date.now();
    for (const records of [this.#record.main, this.#record.init]) {
      for (const record of records) this.#processes.get(record)?.terminate();
      while (leftMs() > 0 && records.some((one) => this.#processes.has(one))) {
        const wait = new AbortController();
        const { signal } = wait;
        const over = delay(leftMs(), undefined, { signal, ref: false }).catch(() => {});
        await Promise.race([this.#changed.promise, over]);
        wait.abort();
      }
    }
    this.kill();
    while (this.#processes.size > 0) await this.#changed.promise;
  }

  kill(): void {
    for (const process of this.#processes.values()) process.kill();
  }

  /** Resolves when it is so; rejects once the pod is to go. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      this.#keeping.signal.throwIfAborted();
      await this.#changed.promise;
    }
  }

  notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async sleep(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#keeping.signal, ref: false });
  }

  async #noteEnd(record: ContainerRecord, end: ProcessEnd): Promise<void> {
    const { ground, signal, write } = this.#keeping;
    await ground.awake();
    this.#processes.delete(record);
    record.state = {
      terminated: terminated(record, end, this.logs.get(record.container.name)?.[0]),
    };
    const isWanted = signal.aborted || this.isEnding;
    const isRestarted = !isWanted && this.#isRestarted(record);
    // With sidecars to end, this is told together with their end's beginning.
    const isLast = this.hasEnded() && this.runningSidecars().length > 0;
    if (!isWanted && !isRestarted && !isLast) write();
    this.notify();
    if (!isRestarted) return;
    try {
      await this.#restart(record);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #isRestarted({ container, state }: ContainerRecord): boolean {
    if (isSidecar(container)) return true;
    if (this.#record.init.some((one) => one.container === container)) return false;
    const policy = specOf(this.#pod).restartPolicy ?? "Always";
    return policy === "Always" || (policy === "OnFailure" && state.terminated?.exitCode !== 0);
  }

  async #restart(record: ContainerRecord): Promise<void> {
    const { ground, write } = this.#keeping;
    const { container } = record;
    const { name, namespace } = whereOf(this.#pod);
    const pod = `${name}_${namespace}(${this.#pod.metadata.uid})`;
    const back = `back-off 10s restarting failed container=${container.name} pod=${pod}`;
    record.lastState = record.state;
    record.state = { waiting: { reason: "CrashLoopBackOff", message: back } };
    const message = `Back-off restarting failed container ${container.name} in pod ${pod}`;
    ground.note(this.#pod, { type: "Warning", reason: "BackOff", message });
    write();
    await this.sleep(ground.timings.retryMs);
    record.restartCount += 1;
    await this.start(record);
  }
}

function terminated(record: ContainerRecord, end: ProcessEnd, log: ContainerLog | undefined) {
  const { exitCode, isOutOfMemory, finishedAt } = end;
  const { running } = record.state;
  const isTold = record.container.terminationMessagePolicy === "FallbackToLogsOnError";
  const message = exitCode !== 0 && isTold ? (log?.tail() ?? "") : "";
  return {
    exitCode,
    reason: isOutOfMemory ? "OOMKilled" : exitCode === 0 ? "Completed" : "Error",
    ...(message === "" ? {} : { message }),
    ...(running?.startedAt === undefined ? {} : { startedAt: running.startedAt }),
    finishedAt: timestamp(finishedAt.getTime() - Date.now()),
    ...(record.containerId === undefined ? {} : { containerID: record.containerId }),
  };
}
