import { randomUUID } from "node:crypto";
import type { JobSpec } from "#job/job.ts";
import type { Assignment, Welcome } from "#rpc/gen/hodei/v1/agent_service.ts";
import { JobSpec as WireSpec } from "#rpc/gen/hodei/v1/job.ts";
import { decodeSpec, specFromWire } from "#rpc/spec.ts";
import { msOf } from "#rpc/time.ts";
import type { AgentOptions } from "./agent.ts";
import { Attempt } from "./attempt.ts";
import { FreshDirectories } from "./fresh-directories.ts";
import { inheritedEnvironment } from "./job-process.ts";
import { type MemoryKills, watchMemoryKills } from "./memory-kills.ts";
import { Pipes } from "./pipes.ts";
import { Spawner } from "./spawner.ts";

/** Who hears of the attempts. */
export interface AttemptEvents {
  readonly onStarted: (attempt: Attempt) => void;
  readonly onLog: () => void;
  readonly onEnded: (attempt: Attempt) => void;
}

/** What the attempts of one agent share. */
export interface AttemptGround extends AttemptEvents {
  readonly options: AgentOptions;
  /** What every job inherits. */
  readonly env: Readonly<Record<string, string>>;
  readonly pipes: Pipes;
  readonly spawner: Spawner;
  readonly directories: FreshDirectories;
  readonly memoryKills: MemoryKills;
}

/** What attempts are started with, some of it ahead of need: every agent has a first job, which comes with the first words of the server. */
export class Tools implements AsyncDisposable {
  readonly env: Readonly<Record<string, string>>;
  readonly pipes: Pipes;
  readonly spawner: Spawner;

  constructor({ env, log, workDir }: Pick<AgentOptions, "env" | "log" | "workDir">) {
    this.env = inheritedEnvironment(env);
    this.spawner = new Spawner(log, this.env);
    this.pipes = new Pipes(workDir, log, this.spawner);
    this.pipes.prepare(1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pipes.close();
    await this.spawner.close();
  }
}

export function openGround(
  options: AgentOptions,
  { env, pipes, spawner }: Tools,
  events: AttemptEvents,
): AttemptGround {
  return {
    ...events,
    options,
    env,
    spawner,
    pipes,
    directories: new FreshDirectories(`${options.workDir}/jobs`),
    memoryKills: watchMemoryKills(),
  };
}

/** Makes ready what as many attempts need as the server will assign. */
export function prepareGround({ pipes, spawner }: AttemptGround, welcome: Welcome): void {
  const slots = Math.max(1, welcome.slots);
  // One job needs two pipes; who runs many gets more ahead of time.
  pipes.prepare(welcome.maxJobs === 1 ? 1 : 2 * slots);
  // One job at a time is started as soon by the agent itself, which stays small with it.
  if (slots > 1) spawner.open();
}

/** The attempt of an assignment. What is wrong with its spec is an error beside it, for `refuse`. */
export function attemptOf(
  { attemptId: id, jobId, attemptNumber, spec: bytes }: Assignment,
  welcome: Welcome | undefined,
  ground: AttemptGround,
): { readonly attempt: Attempt; readonly error: unknown } {
  const { options, env, pipes, spawner, directories, memoryKills } = ground;
  const { spec, error } = readSpec(bytes);
  const attempt: Attempt = new Attempt({
    id,
    jobId,
    attemptNumber,
    marker: `HODEI_JOB_MARKER=${randomUUID()}`,
    spec,
    workDir: options.workDir,
    env,
    pipes,
    spawner,
    directories,
    memoryKills,
    logBounds: {
      batchBytes: welcome?.logBatchBytes || 64 * 1024,
      batchDelayMs: msOf(welcome?.logBatchDelay) ?? 25,
      memoryBytes: options.logMemoryBytes,
      spoolBytes: options.logSpoolBytes,
    },
    onStarted: () => ground.onStarted(attempt),
    onLog: ground.onLog,
    onEnded: () => ground.onEnded(attempt),
  });
  return { attempt, error };
}

function readSpec(bytes: Uint8Array): { readonly spec: JobSpec; readonly error: unknown } {
  try {
    return { spec: decodeSpec(bytes), error: undefined };
  } catch (error) {
    return { spec: specFromWire(WireSpec.decode(new Uint8Array())), error };
  }
}
