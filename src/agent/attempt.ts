import { rmSync } from "node:fs";
import type { Failure } from "#job/failure.ts";
import type { JobSpec, Outcome, Usage } from "#job/job.ts";
import { after } from "./after.ts";
import { AttemptLog, type LogBounds } from "./attempt-log.ts";
import {
  isDirectory,
  type JobIdentity,
  type JobOutputs,
  type JobProcessEvents,
  type Launch,
  type LaunchGround,
  prepareLaunch,
  startProcess,
} from "./job-process.ts";
import type { MemoryKills } from "./memory-kills.ts";
import type { Pipes } from "./pipes.ts";
import type { Spawner } from "./spawner.ts";
import { type ProcessEntry, readProcess, signalTo } from "#processes.ts";
import { type JobProcesses, killAll, signalAll } from "./sweep.ts";
import { measure } from "./usage.ts";
import {
  type Exit,
  failureBeforeStart,
  failureOfLoss,
  failureOfExit,
  failureOfSpec,
  failureOfStart,
  isShell,
  noteOfKills,
  signalNumber,
  type StopCause,
} from "./verdict.ts";

/** When others still hold the pipes of a process that has ended, they are killed after the first pause, and not waited for after the second. */
const leftoverMs = 1_000;
const drainMs = 3_000;
const goneMs = 10_000;
const neverRan: Exit = { exitCode: undefined, signal: undefined };

export interface AttemptOptions extends JobIdentity, LaunchGround {
  readonly id: string;
  readonly spec: JobSpec;
  readonly pipes: Pipes;
  readonly spawner: Spawner;
  readonly logBounds: LogBounds;
  readonly memoryKills: MemoryKills;
  readonly onStarted: () => void;
  readonly onLog: () => void;
  /** Called once, with the log flushed; never after `abandon`. */
  readonly onEnded: () => void;
}

/** One attempt in the agent, from its assignment to its outcome. */
export class Attempt {
  readonly id: string;
  readonly jobId: string;
  readonly marker: string;
  readonly spec: JobSpec;
  /** On the monotonic clock. */
  readonly takenAt = performance.now();
  readonly log: AttemptLog;
  readonly #options: AttemptOptions;
  readonly #processes: JobProcesses;
  readonly #gone = Promise.withResolvers<boolean>();
  #launch: Launch | undefined;
  /** From the order to start on; the process itself follows, by a turn or by the time that the spawner takes. */
  #isBegun = false;
  #exit: Exit | undefined;
  #startedAt: number | undefined;
  #outcome: Outcome | undefined;
  #stop: { readonly cause: StopCause; readonly reason: string } | undefined;
  #timeout: NodeJS.Timeout | undefined;
  #kill: NodeJS.Timeout | undefined;
  #drain: NodeJS.Timeout | undefined;
  #openOutputs: JobOutputs = [];
  #isAbandoned = false;
  #isKilled = false;
  #isLost = false;
  #peak: Usage = { cpuSeconds: 0, memoryBytes: 0, outputBytes: 0 };

  constructor(options: AttemptOptions) {
    this.id = options.id;
    this.jobId = options.jobId;
    this.marker = options.marker;
    this.spec = options.spec;
    this.#options = options;
    const spoolPath = `${options.workDir}/${options.jobId}-${options.attemptNumber}.spool`;
    this.log = new AttemptLog(spoolPath, options.logBounds, options.onLog);
    this.#processes = { pid: undefined, marker: options.marker, seen: new Map() };
  }

  get startedAt(): number | undefined {
    return this.#startedAt;
  }

  get outcome(): Outcome | undefined {
    return this.#outcome;
  }

  /** Where it runs, or ran; undefined when it never came to that. */
  get directory(): string | undefined {
    return this.#launch?.cwd;
  }

  /** Whether a process of it was ever there, as far as anybody can tell. */
  get mayHaveRun(): boolean {
    return this.#startedAt !== undefined || this.#isLost;
  }

  get isRunning(): boolean {
    return this.#isBegun && this.#outcome === undefined;
  }

  /** Whether it waits for `start`. */
  get isWaiting(): boolean {
    return !this.#isBegun && !this.#isAbandoned && this.#outcome === undefined;
  }

  /** Makes ready whatever can be before `start`; a failure becomes the outcome. */
  prepare(): void {
    if (this.#launch !== undefined || this.#outcome !== undefined) return;
    try {
      this.#launch = prepareLaunch(this.spec, this.#options, this.#options);
    } catch (error) {
      this.#failStart("working directory", error);
    }
  }

  /** Starts the process; starting twice is starting once. */
  start(): void {
    this.prepare();
    const launch = this.#launch;
    if (launch === undefined || !this.isWaiting) return;
    this.#isBegun = true;
    const events: JobProcessEvents = {
      onStarted: (pid, outputs) => this.#run(pid, outputs),
      onFailed: (error) => this.#failStart(launch.program, error),
      onExit: (exit) => this.#onExit(exit),
      onLost: () => this.#lose(),
    };
    startProcess(launch, this.#options, events);
  }

  /** Its spec cannot be read: it ends without having begun. */
  refuse(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#end(neverRan, failureOfSpec(reason));
  }

  /** Ends it: politely at first, by force after `graceMs`. The first cause stays; a shorter grace counts. */
  stop(cause: StopCause, reason: string, graceMs: number): void {
    if (this.#outcome !== undefined) return;
    this.#stop ??= { cause, reason };
    if (!this.#isBegun) {
      this.#end(neverRan, failureBeforeStart(cause, reason));
      return;
    }
    // After its own exit only output is awaited, and nobody is left to be polite to.
    if (graceMs > 0 && this.#exit === undefined) signalAll(this.#processes, "SIGTERM");
    clearTimeout(this.#kill);
    if (graceMs <= 0) this.kill();
    else this.#kill = setTimeout(() => this.kill(), graceMs);
  }

  kill(): void {
    this.#isKilled = true;
    killAll(this.#processes);
  }

  /**
   * Kills and forgets it: it is no longer ours (DESIGN G8). Resolves once its process has ended, also one whose start was on its way; to false when that
   * takes too long.
   */
  async abandon(): Promise<boolean> {
    this.#isAbandoned = true;
    this.#clearTimers();
    if (this.#isBegun) this.kill();
    this.forget();
    this.clean();
    if (!this.#isBegun || this.#outcome !== undefined) return true;
    const late = setTimeout(() => this.#gone.resolve(false), goneMs).unref();
    const isGone = await this.#gone.promise;
    clearTimeout(late);
    // Those that left its group are found by its marker.
    return killAll(this.#processes) && isGone;
  }

  /** Gives up its log. */
  forget(): void {
    this.log.close();
  }

  /** Gives up its files; nothing of it may run any more. */
  clean(): void {
    const { directory, scriptPath } = this.#launch ?? {};
    if (directory !== undefined) this.#options.directories.give(directory);
    if (scriptPath !== undefined) rmSync(scriptPath, { force: true });
    this.#launch = undefined;
  }

  /** What it uses now, as peaks so far. */
  usage(all: readonly ProcessEntry[]): Usage {
    const { pid } = this.#processes;
    const now = pid === undefined ? undefined : measure(pid, all);
    this.#peak = {
      cpuSeconds: Math.max(this.#peak.cpuSeconds, now?.cpuSeconds ?? 0),
      memoryBytes: Math.max(this.#peak.memoryBytes, now?.memoryBytes ?? 0),
      outputBytes: this.log.outputBytes,
    };
    return this.#peak;
  }

  #run(pid: number, outputs: JobOutputs): void {
    Object.assign(this.#processes, { pid });
    this.#startedAt = Date.now();
    this.#openOutputs = outputs;
    for (const { stream, source } of outputs) {
      source.once("close", () => {
        this.#openOutputs = this.#openOutputs.filter((one) => one.source !== source);
        this.#finishWhenDone();
      });
      this.log.read(stream, source);
    }
    // It was ended while it was on its way.
    if (this.#isAbandoned || this.#isKilled) this.kill();
    else if (this.#stop !== undefined) signalAll(this.#processes, "SIGTERM");
    if (this.#isAbandoned) return;
    const { executionTimeoutMs, cancelGraceMs } = this.spec;
    const overdue = (): void => this.stop("execution_timeout", "", cancelGraceMs);
    this.#timeout = after(executionTimeoutMs, overdue);
    this.#options.onStarted();
  }

  #onExit(exit: Exit): void {
    this.#exit = exit;
    this.#gone.resolve(true);
    clearTimeout(this.#timeout);
    // An agent that was stopped may hear of it so late that its number is somebody else's by now.
    const { pid: number } = this.#processes;
    const pid = number === undefined || readProcess(number) !== undefined ? undefined : number;
    Object.assign(this.#processes, { pid });
    // What it left in its group ends with it; what left the group is found by its marker.
    if (pid !== undefined) signalTo(-pid, "SIGKILL");
    if (this.#stop !== undefined) this.kill();
    const giveUp = (): void => {
      // While the log is full nobody reads, so no time has passed for those who write.
      if (this.log.isFull) this.#drain = setTimeout(giveUp, drainMs);
      else for (const { source } of this.#openOutputs) source.destroy();
    };
    const killOthers = (): void => {
      this.kill();
      this.#drain = setTimeout(giveUp, drainMs);
    };
    // The exit decides; but what is in the pipes is still read.
    if (this.#openOutputs.length > 0) this.#drain = setTimeout(killOthers, leftoverMs);
    this.#finishWhenDone();
  }

  #finishWhenDone(): void {
    if (this.#openOutputs.length > 0 || this.#exit === undefined) return;
    clearTimeout(this.#drain);
    this.#finish(this.#exit);
  }

  /** Nobody will tell how its process ends, so it is ended now, whether it had come to run or not. */
  #lose(): void {
    this.#isLost = true;
    this.kill();
    this.#gone.resolve(true);
    for (const { source } of this.#openOutputs) source.destroy();
    this.#end(neverRan, failureOfLoss());
  }

  #finish(exit: Exit): void {
    if (this.#isAbandoned) return;
    const { isExact } = this.#options.memoryKills;
    // Asked each time, so that what one attempt survived is not put down to the next.
    const kills = this.#options.memoryKills.take();
    if (isExact && kills > 0) this.log.add("system", Buffer.from(noteOfKills(kills)));
    const mayBeMemory = exit.signal === "SIGKILL" || exit.exitCode === 137;
    const failure = failureOfExit(exit, {
      stopCause: this.#stop?.cause,
      stopReason: this.#stop?.reason ?? "",
      isOutOfMemory: mayBeMemory && kills > 0,
      memoryKills: isExact ? kills : 0,
      isShell: isShell(this.#launch?.program ?? ""),
    });
    this.#end(exit, failure);
  }

  #failStart(what: string, error: unknown): void {
    this.#gone.resolve(true);
    const cwd = this.#launch?.cwd;
    const isHomeless = cwd !== undefined && !isDirectory(cwd);
    const { exitCode, failure } = failureOfStart(what, error);
    if (!isHomeless && this.#launch !== undefined) {
      this.#end({ exitCode, signal: undefined }, failure);
      return;
    }
    const message = isHomeless ? `working directory ${cwd} does not exist` : failure.message;
    const blame = isHomeless ? "user" : "node";
    this.#end(neverRan, { ...failure, cause: "preparation_failed", blame, message });
  }

  #end(exit: Exit, failure: Failure | undefined): void {
    if (this.#outcome !== undefined || this.#isAbandoned) return;
    this.#clearTimers();
    this.log.flush();
    this.#outcome = {
      exitCode: exit.exitCode,
      signal: signalNumber(exit.signal),
      failure,
      startedAt: this.#startedAt,
      endedAt: Date.now(),
      peak: { ...this.#peak, outputBytes: this.log.outputBytes },
    };
    this.#options.onEnded();
  }

  #clearTimers(): void {
    clearTimeout(this.#timeout);
    clearTimeout(this.#kill);
  }
}
