import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";

import { environmentOf, expand, translate } from "./kubelet-env.ts";
import type { Note } from "./kubelet-events.ts";
import {
  imageId,
  imageNameProblem,
  pullError,
  resolvedName,
  type Image,
  type Images,
  type Pull,
} from "./kubelet-images.ts";
import { ContainerProcess } from "./kubelet-process.ts";
import type { ContainerRecord } from "./kubelet-status.ts";
import { initContainersOf, specOf, userOf, whereOf, type Container } from "./kubelet-types.ts";
import { mountsOf } from "./kubelet-volumes.ts";
import { timestamp, type Objects, type Pod } from "./objects.ts";
import { quantityOf } from "./quantity.ts";

/** What one try at starting a container needs. */
export interface StartContext {
  readonly objects: Objects;
  readonly images: () => Images;
  /** Images that were pulled to this node, and how often each was tried. */
  readonly pulls: Map<string, { tries: number; isPresent: boolean }>;
  readonly volumes: string;
  readonly scratch: string;
  readonly note: (note: Note) => void;
  readonly sleep: (ms: number) => Promise<void>;
  readonly imageBackOffMs: number;
  /** Whether containers run as the users that their pods name; needs root. */
  readonly isUserKept: boolean;
}

/** Why a container waits. */
export interface Problem {
  readonly reason: string;
  readonly message: string;
}

/** When the next pull of a container's image may be tried, and what the last one said. */
export interface PullBackOff {
  untilMs: number;
  lengthMs: number;
  error: string;
}

const isRoot = process.getuid?.() === 0;
const runtimePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** One try at starting a container: it runs or has ended afterwards, or the problem is returned. */
export async function tryStart(
  pod: Pod,
  record: ContainerRecord,
  context: StartContext & { readonly backOff: PullBackOff },
): Promise<Problem | ContainerProcess | undefined> {
  const { container } = record;
  const name = container.image ?? "";
  const note = noteFor(container, context, pod);
  const image = await fetchImage(container, { ...context, note });
  if ("reason" in image) return image;
  let command: string[];
  let env: Record<string, string>;
  try {
    refuseRoot(pod, container, image);
    env = environmentOf(pod, container, { objects: context.objects, image });
    command = commandOf(container, image, env);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    note({ type: "Warning", reason: "Failed", message: `Error: ${message}` });
    return { reason: "CreateContainerConfigError", message };
  }
  const { uid = image.user ?? 0, gid = 0 } = userOf(pod, container);
  const id = randomBytes(32).toString("hex");
  record.containerId = `containerd://${id}`;
  record.image = { name: resolvedName(name), id: imageId(name), uid, gid };
  note({ type: "Normal", reason: "Created", message: "Container created" });
  try {
    if (image.startError !== undefined) throw new Error(image.startError);
    const mounts = mountsOf(container, context.volumes);
    const started = await ContainerProcess.start({
      id,
      command: runnable(command, { image, mounts }),
      env: translated(env, mounts),
      cwd: directoryOf(container, { image, mounts, scratch: context.scratch }),
      ...(isRoot && context.isUserKept ? { user: { uid, gid } } : {}),
      ...limitOf(container),
    });
    note({ type: "Normal", reason: "Started", message: "Container started" });
    record.state = { running: { startedAt: timestamp() } };
    return started;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    note({ type: "Warning", reason: "Failed", message: `Error: ${message}` });
    record.state = {
      terminated: {
        exitCode: 128,
        reason: "StartError",
        message,
        startedAt: "1970-01-01T00:00:00Z",
        finishedAt: timestamp(),
        containerID: record.containerId,
      },
    };
    return undefined;
  }
}

/** The image once it is on the node, or why it is not. */
async function fetchImage(
  container: Container,
  context: StartContext & { readonly backOff: PullBackOff },
): Promise<Image | Problem> {
  const name = container.image ?? "";
  const { note, pulls, backOff } = context;
  const invalid = imageNameProblem(name);
  if (invalid !== undefined) {
    note({ type: "Warning", reason: "InspectFailed", message: invalid });
    return failed(note, { reason: "InvalidImageName", message: invalid });
  }
  const image = context.images()[name];
  const known = pulls.get(name) ?? { tries: 0, isPresent: false };
  const isPresent = known.isPresent || (image !== undefined && image.pull === undefined);
  if (container.imagePullPolicy === "Never" && !isPresent) {
    const message = `Container image "${name}" is not present with pull policy of Never`;
    note({ type: "Warning", reason: "ErrImageNeverPull", message });
    return failed(note, { reason: "ErrImageNeverPull", message });
  }
  if (isPresent && image !== undefined && container.imagePullPolicy !== "Always") {
    const message = `Container image "${name}" already present on machine and can be accessed by the pod`;
    note({ type: "Normal", reason: "Pulled", message });
    return image;
  }
  if (Date.now() < backOff.untilMs) {
    const message = `Back-off pulling image "${name}"`;
    note({ type: "Normal", reason: "BackOff", message });
    const reason = "ImagePullBackOff";
    return failed(note, { reason, message: `${message}: ErrImagePull: ${backOff.error}` });
  }
  note({ type: "Normal", reason: "Pulling", message: `Pulling image "${name}"` });
  const startedMs = Date.now();
  pulls.set(name, { tries: known.tries + 1, isPresent });
  const result = outcomeOf(image, known.tries);
  await context.sleep(result === "never_ends" ? 2 ** 31 - 1 : (image?.pullMs ?? 0));
  if (result !== "ok" && result !== "never_ends") {
    const message = pullError(name, result);
    note({
      type: "Warning",
      reason: "Failed",
      message: `Failed to pull image "${name}": ${message}`,
    });
    backOff.lengthMs = Math.min(
      backOff.lengthMs * 2 || context.imageBackOffMs,
      30 * context.imageBackOffMs,
    );
    backOff.untilMs = Date.now() + backOff.lengthMs;
    backOff.error = message;
    return failed(note, { reason: "ErrImagePull", message });
  }
  pulls.set(name, { tries: known.tries + 1, isPresent: true });
  const took = `${Date.now() - startedMs}ms`;
  const size = "Image size: 123456789 bytes.";
  const message = `Successfully pulled image "${name}" in ${took} (${took} including waiting). ${size}`;
  note({ type: "Normal", reason: "Pulled", message });
  return image ?? {};
}

function outcomeOf(image: Image | undefined, tries: number): Pull {
  if (image === undefined) return "not_found";
  const { pull = "ok" } = image;
  if (typeof pull === "string" || "error" in pull) return pull;
  return pull[Math.min(tries, pull.length - 1)] ?? "ok";
}

function failed(note: StartContext["note"], problem: Problem): Problem {
  note({ type: "Warning", reason: "Failed", message: `Error: ${problem.reason}` });
  return problem;
}

function noteFor(container: Container, context: StartContext, pod: Pod): StartContext["note"] {
  const isInit = initContainersOf(pod).some(({ name }) => name === container.name);
  const fieldPath = `spec.${isInit ? "initContainers" : "containers"}{${container.name}}`;
  return (note) => context.note({ ...note, fieldPath });
}

function refuseRoot(pod: Pod, container: Container, image: Image): void {
  const { runAsNonRoot } = { ...specOf(pod).securityContext, ...container.securityContext };
  if (runAsNonRoot !== true) return;
  const { name, namespace } = whereOf(pod);
  const who = `(pod: "${name}_${namespace}(${pod.metadata.uid})", container: ${container.name})`;
  const { uid } = userOf(pod, container);
  if (uid === 0) throw new Error(`container's runAsUser breaks non-root policy ${who}`);
  if (uid === undefined && (image.user ?? 0) === 0) {
    throw new Error(`container has runAsNonRoot and image will run as root ${who}`);
  }
}

function commandOf(container: Container, image: Image, env: Record<string, string>): string[] {
  const { command, args } = container;
  const whole =
    command === undefined
      ? [...(image.command ?? []), ...(args ?? [])]
      : [...command, ...(args ?? [])];
  if (whole.length === 0) throw new Error("no command specified");
  return whole.map((part) => expand(part, env));
}

function runnable(
  command: readonly string[],
  { image, mounts }: { readonly image: Image; readonly mounts: ReadonlyMap<string, string> },
): string[] {
  const [program = "", ...rest] = command;
  const isOwn = image.command?.every((part, index) => command[index] === part) === true;
  // The image's own command is a path of this machine and must not be taken for one of a mount.
  const own = isOwn
    ? (image.command ?? [])
    : (image.programs?.[program] ?? [translate(program, mounts)]);
  const others = isOwn ? command.slice(own.length) : rest;
  return [...own, ...others.map((part) => translate(part, mounts))];
}

function translated(
  env: Record<string, string>,
  mounts: ReadonlyMap<string, string>,
): Record<string, string> {
  const all: Record<string, string> = Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, translate(value, mounts)]),
  );
  const temporary = mounts.get("/tmp");
  const path = env["PATH"] ?? runtimePath;
  return {
    ...(temporary === undefined ? {} : { TMPDIR: temporary }),
    ...all,
    PATH: path,
  };
}

/** Its working directory if that is a mount or exists on this machine, else an empty one. */
function directoryOf(
  container: Container,
  {
    image,
    mounts,
    scratch,
  }: {
    readonly image: Image;
    readonly mounts: ReadonlyMap<string, string>;
    readonly scratch: string;
  },
): string {
  const wanted = translate(container.workingDir ?? image.workingDir ?? "", mounts);
  if (wanted !== "" && existsSync(wanted)) return wanted;
  mkdirSync(scratch, { recursive: true });
  return scratch;
}

function limitOf(container: Container): { memoryLimitBytes?: number } {
  const memory = container.resources?.limits?.["memory"];
  return memory === undefined ? {} : { memoryLimitBytes: quantityOf(memory) };
}
