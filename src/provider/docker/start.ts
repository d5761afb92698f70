import type { Duplex } from "node:stream";
import type { ContainerCreateOptions } from "dockerode";
import { HodeiError } from "#error.ts";
import type { Failure } from "#job/failure.ts";
import { StartError, type WorkerSpec } from "#provider/provider.ts";
import { isLive } from "./burial.ts";
import { imageFailure, type ImageChoice, imageTroubleOf, startFailure } from "./classify.ts";
import { containerOf, imageOf } from "./container.ts";
import { isUnsent, statusOf, unlessMissing, wordsOf } from "./engine.ts";
import type { Ground } from "./ground.ts";
import type { Images, PullListener } from "./image.ts";
import { containerNameOf, workerOf } from "./names.ts";
import type { WorkerNetwork } from "./network.ts";
import { removeContainer } from "./remove.ts";

export interface StartParts {
  readonly ground: Ground;
  readonly network: WorkerNetwork;
  readonly images: Images;
}

/** Makes the container, starts it and hands the token over; answers its id. Rejects with a `StartError` once there certainly is none. */
export async function startContainer(
  parts: StartParts,
  spec: WorkerSpec,
  signal: AbortSignal,
): Promise<string> {
  const { ground } = parts;
  const startedAt = performance.now();
  const { workerId } = spec;
  const choice = choiceOf(ground, spec);
  const made = await make(parts, spec, signal);
  if (made.isRunning) return made.id;
  ground.traces.of(made.id, workerId, startedAt);
  try {
    signal.throwIfAborted();
    const container = ground.engine.streams.getContainer(made.id);
    const input = (await container.attach({ stream: true, stdin: true, hijack: true })) as Duplex;
    // A container that is over reads nothing; that it is over is told by the engine.
    input.on("error", () => undefined).resume();
    try {
      signal.throwIfAborted();
      await ground.engine.calls.getContainer(made.id).start();
      input.end(`${spec.otp}\n`);
      signal.throwIfAborted();
    } catch (error) {
      input.destroy();
      throw error;
    }
  } catch (error) {
    if (/network/i.test(wordsOf(error))) parts.network.forget();
    await discard(ground, made.id, error);
    throw certainly(signal, error, () => startFailure(error, choice));
  }
  return made.id;
}

/** Removes what a failed start left. Where that fails nobody knows, and the start's own error says so. */
async function discard(ground: Ground, containerId: string, error: unknown): Promise<void> {
  try {
    await removeContainer(ground.engine, containerId);
  } catch (cause) {
    const message = `cannot tell whether container ${containerId} is there: ${wordsOf(error)}`;
    throw new HodeiError("unavailable", message, { cause });
  }
  // Nobody is told that it is gone, since nobody was told that it is there.
  ground.traces.end(containerId);
}

/** The error of a start that left nothing. */
function certainly(signal: AbortSignal, error: unknown, failure: () => Failure): unknown {
  const reason: unknown = signal.aborted ? signal.reason : undefined;
  if (reason === undefined)
    return error instanceof StartError ? error : new StartError(failure(), error);
  const isTimeout = reason instanceof Error && reason.name === "TimeoutError";
  return isTimeout ? new StartError(tooLate(error), reason) : reason;
}

function tooLate(error: unknown): Failure {
  return {
    stage: "creating",
    cause: "start_timeout",
    blame: "provider",
    message: "the engine did not start the container in time",
    userCodeMayHaveRun: false,
    evidence: { message: wordsOf(error) },
  };
}

function choiceOf({ config }: Ground, spec: WorkerSpec): ImageChoice {
  return { image: imageOf(config, spec), isOfJob: spec.workerClass.image !== "" };
}

interface Made {
  readonly id: string;
  /** It was there before, and runs. */
  readonly isRunning: boolean;
}

async function make(parts: StartParts, spec: WorkerSpec, signal: AbortSignal): Promise<Made> {
  const { ground, network } = parts;
  const choice = choiceOf(ground, spec);
  try {
    await network.ensure();
    if (ground.config.pullPolicy === "always") await pull(parts, spec, signal);
    signal.throwIfAborted();
  } catch (error) {
    throw certainly(signal, error, () => startFailure(error, choice));
  }
  try {
    return await create(ground, spec);
  } catch (error) {
    const isMissing = statusOf(error) === 404 && /image/i.test(wordsOf(error));
    if (!isMissing) throw afterCreate(error, { choice, signal });
    if (ground.config.pullPolicy !== "if_missing") {
      throw new StartError(
        imageFailure(choice, { ...imageTroubleOf(error, choice.image), reason: "ImageNotFound" }),
        error,
      );
    }
  }
  try {
    await pull(parts, spec, signal);
    signal.throwIfAborted();
  } catch (error) {
    throw certainly(signal, error, () => startFailure(error, choice));
  }
  try {
    return await create(ground, spec);
  } catch (error) {
    throw afterCreate(error, { choice, signal });
  }
}

/** A call that was answered made nothing; the engine may still be at one that was not. */
function afterCreate(
  error: unknown,
  { choice, signal }: { readonly choice: ImageChoice; readonly signal: AbortSignal },
): unknown {
  if (error instanceof StartError) return error;
  if (statusOf(error) === 0 && !isUnsent(error)) {
    const message = `nobody knows whether a container of image ${choice.image} was made`;
    return new HodeiError("unavailable", message, { cause: error });
  }
  const trouble = imageTroubleOf(error, choice.image);
  return certainly(signal, error, () =>
    trouble.reason === "InvalidImageName"
      ? imageFailure(choice, trouble)
      : startFailure(error, choice),
  );
}

async function pull(parts: StartParts, spec: WorkerSpec, signal: AbortSignal): Promise<void> {
  const { feed } = parts.ground;
  const { workerId } = spec;
  const choice = choiceOf(parts.ground, spec);
  const progress = (message: string): void =>
    feed.add({ kind: "stage", workerId, stage: "pulling", message });
  const listener: PullListener = {
    progress,
    trouble: (trouble) => {
      const failure = imageFailure(choice, trouble);
      feed.add({ kind: "failed", workerId, failure, canPass: true });
    },
  };
  progress(`pulling image ${choice.image}`);
  await parts.images.pull(choice, listener, signal);
}

/** One that has the name already is taken over where it runs, and replaced where it does not: its token is lost. */
async function create(ground: Ground, spec: WorkerSpec): Promise<Made> {
  const name = containerNameOf(spec.workerId);
  const { config, ownership, env, engine } = ground;
  const body = containerOf({ config, ownership, env, engine: ground.size() }, spec);
  // Otherwise the client repeats all of it in the address of the call.
  const options: ContainerCreateOptions = Object.assign({}, body, {
    _query: { name },
    _body: body,
  });
  try {
    return { id: (await engine.calls.createContainer(options)).id, isRunning: false };
  } catch (error) {
    if (statusOf(error) !== 409) throw error;
  }
  const found = await unlessMissing(engine.calls.getContainer(name).inspect());
  if (found !== undefined) {
    if (workerOf(ownership, found.Config.Labels) !== spec.workerId) throw taken(name, found.Id);
    if (isLive(found)) return { id: found.Id, isRunning: true };
    await removeContainer(engine, found.Id);
    ground.traces.end(found.Id);
  }
  return { id: (await engine.calls.createContainer(options)).id, isRunning: false };
}

function taken(name: string, containerId: string): StartError {
  return new StartError({
    stage: "creating",
    cause: "start_failed",
    blame: "provider",
    message: `a container of somebody else is called ${name}`,
    userCodeMayHaveRun: false,
    evidence: { reason: "NameTaken", container: containerId },
  });
}
