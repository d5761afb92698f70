import type Docker from "dockerode";
import type { Failure } from "#job/failure.ts";
import type { WorkerId } from "#job/id.ts";
import { endFailure } from "./classify-end.ts";
import { unlessMissing } from "./engine.ts";
import type { Ground } from "./ground.ts";
import { keys } from "./names.ts";
import { removeContainer } from "./remove.ts";
import { readContainerTail } from "./tail.ts";
import type { Trace } from "./traces.ts";

const outputBytes = 500;

export interface Deceased {
  readonly containerId: string;
  readonly workerId: WorkerId;
  /** What an event said, for a container that is gone before anybody can look. */
  readonly exitCode?: number;
  readonly image?: string;
}

/** Keeps what a container that ended has to say, removes it, and tells that the worker is gone: once, however many notice. */
export class Burial {
  readonly #ground: Ground;
  readonly #underway = new Map<string, Promise<void>>();

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  /** A container that runs after all is left alone. */
  async bury(deceased: Deceased): Promise<void> {
    const { containerId } = deceased;
    const digging =
      this.#underway.get(containerId) ??
      this.#bury(deceased).finally(() => this.#underway.delete(containerId));
    this.#underway.set(containerId, digging);
    return digging;
  }

  async #bury(deceased: Deceased): Promise<void> {
    const { containerId, workerId } = deceased;
    const { engine, traces, tails, feed, log } = this.#ground;
    const trace = traces.of(containerId, workerId);
    const info = await unlessMissing(engine.calls.getContainer(containerId).inspect());
    if (info !== undefined && isLive(info)) return;
    const tail = info && (await readContainerTail(engine, containerId).catch(() => undefined));
    if (tail !== undefined) tails.keep(containerId, tail);
    const failure = trace.isStopping ? undefined : failureOf(deceased, { trace, info, tail });
    try {
      await removeContainer(engine, containerId);
    } catch (error) {
      // It is over all the same; the next look at the engine's containers tries again.
      log?.warn({ workerId, containerId, err: error }, "cannot remove a container");
    }
    if (traces.end(containerId)) feed.add({ kind: "gone", workerId, failure });
  }
}

/** Whether something may run in it. */
export function isLive({ State: state }: Pick<Docker.ContainerInspectInfo, "State">): boolean {
  return state.Running || state.Restarting;
}

function failureOf(
  { containerId, exitCode, image }: Deceased,
  seen: {
    readonly trace: Trace;
    readonly info: Docker.ContainerInspectInfo | undefined;
    readonly tail: Uint8Array | undefined;
  },
): Failure | undefined {
  const { trace, info, tail } = seen;
  const state = info?.State;
  const hasRun = state === undefined || !state.StartedAt.startsWith("0001-");
  return endFailure({
    containerId,
    image: info?.Config.Image ?? image ?? "",
    isImageOfJob: info?.Config.Labels[keys.jobImage] !== undefined,
    exitCode: hasRun ? (state?.ExitCode ?? exitCode) : undefined,
    error: state?.Error ?? "",
    hasRun,
    wasOutOfMemory: trace.wasOutOfMemory || state?.OOMKilled === true,
    memoryLimit: info?.HostConfig.Memory ?? 0,
    sentSignal: trace.sentSignal,
    hasConnected: trace.hasConnected,
    isExpired: trace.isExpired,
    isRemovedByOthers: info === undefined,
    output: Buffer.from(tail ?? [])
      .toString("utf8")
      .slice(-outputBytes),
  });
}
