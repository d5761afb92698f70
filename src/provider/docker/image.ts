import { readFile } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { StartError } from "#provider/provider.ts";
import { imageFailure, type ImageChoice, type ImageTrouble, imageTroubleOf } from "./classify.ts";
import type { DockerConfig } from "./config.ts";
import type { Engine } from "./engine.ts";
import { readJsonLines } from "./lines.ts";

const tellEveryMs = 1_000;
/** A registry that cannot be reached is tried again after these pauses: half a minute is what a hiccup is given. */
const pausesMs = [1_000, 4_000, 10_000, 15_000];

export interface PullListener {
  readonly progress: (message: string) => void;
  readonly trouble: (trouble: ImageTrouble) => void;
}

/** Fetches images, each once at a time however many workers wait for it. */
export class Images {
  readonly #engine: Engine;
  readonly #config: DockerConfig;
  readonly #pulls = new Map<
    string,
    { readonly done: Promise<void>; readonly hear: Set<PullListener> }
  >();

  constructor(engine: Engine, config: DockerConfig) {
    this.#engine = engine;
    this.#config = config;
  }

  /** Rejects with a `StartError` when it cannot be had. An abort leaves the pull to others, and to the next start. */
  async pull(choice: ImageChoice, listener: PullListener, signal: AbortSignal): Promise<void> {
    for (const pauseMs of [...pausesMs, undefined]) {
      try {
        await this.#join(choice.image, listener, signal);
        return;
      } catch (error) {
        signal.throwIfAborted();
        const trouble = imageTroubleOf(error, choice.image);
        if (!trouble.canPass || pauseMs === undefined) {
          throw new StartError(imageFailure(choice, trouble), error);
        }
        listener.trouble(trouble);
        await wait(pauseMs, undefined, { signal });
      }
    }
  }

  async #join(image: string, listener: PullListener, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    let pull = this.#pulls.get(image);
    if (pull === undefined) {
      const hear = new Set<PullListener>();
      const done = this.#pull(image, hear).finally(() => this.#pulls.delete(image));
      pull = { done, hear };
      this.#pulls.set(image, pull);
    }
    pull.hear.add(listener);
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(new Error("nobody waits for the image"));
    signal.addEventListener("abort", onAbort);
    try {
      await Promise.race([pull.done, aborted]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      pull.hear.delete(listener);
    }
  }

  async #pull(image: string, hear: ReadonlySet<PullListener>): Promise<void> {
    const authconfig = await readCredentials(this.#config.registryConfigFile, image);
    const tagged = /@|:[^/]*$/.test(image) ? image : `${image}:latest`;
    const options = authconfig === undefined ? {} : { authconfig };
    const stream = await this.#engine.streams.pull(tagged, options);
    const layers = new Map<string, Layer>();
    let toldAt = -Infinity;
    for await (const line of readJsonLines(stream)) {
      const event = line as PullEvent;
      if (event.error !== undefined) throw new Error(event.error);
      note(layers, event);
      if (performance.now() - toldAt < tellEveryMs) continue;
      toldAt = performance.now();
      for (const { progress } of hear) progress(`pulling image ${image}: ${progressOf(layers)}`);
    }
  }
}

interface PullEvent {
  readonly id?: string;
  readonly status?: string;
  readonly error?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
}

interface Layer {
  readonly current: number;
  readonly total: number;
  readonly isDone: boolean;
}

function note(layers: Map<string, Layer>, { id, status, progressDetail }: PullEvent): void {
  if (id === undefined || status === undefined || status.startsWith("Pulling from")) return;
  const before = layers.get(id) ?? { current: 0, total: 0, isDone: false };
  const isDone = /^(Pull complete|Already exists)/.test(status);
  const isDownload = status === "Downloading";
  layers.set(id, {
    current: isDownload ? (progressDetail?.current ?? before.current) : before.current,
    total: isDownload ? (progressDetail?.total ?? before.total) : before.total,
    isDone: before.isDone || isDone,
  });
}

export function progressOf(layers: ReadonlyMap<string, Layer>): string {
  const all = [...layers.values()];
  if (all.length === 0) return "asking the registry";
  const sum = (pick: (layer: Layer) => number): number =>
    all.reduce((total, layer) => total + pick(layer), 0);
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
  const done = all.filter(({ isDone }) => isDone).length;
  return `${done} of ${all.length} layers, ${megabytes(sum(({ current }) => current))} of ${megabytes(sum(({ total }) => total))} MB`;
}

/** What `docker login` noted for the image's registry; read each time, since tokens are renewed. */
async function readCredentials(
  path: string,
  image: string,
): Promise<{ username: string; password: string; serveraddress: string } | undefined> {
  if (path === "") return undefined;
  const { auths = {} } = JSON.parse(await readFile(path, "utf8")) as {
    auths?: Readonly<Record<string, { readonly auth?: string }>>;
  };
  const registry = registryOf(image);
  const keys =
    registry === "docker.io"
      ? ["https://index.docker.io/v1/", "docker.io"]
      : [registry, `https://${registry}`, `https://${registry}/v1/`, `https://${registry}/v2/`];
  const key = keys.find((name) => auths[name]?.auth !== undefined);
  const auth = key === undefined ? undefined : auths[key]?.auth;
  if (key === undefined || auth === undefined) return undefined;
  const text = Buffer.from(auth, "base64").toString();
  const at = text.indexOf(":");
  return { username: text.slice(0, at), password: text.slice(at + 1), serveraddress: key };
}

/** The part before the first slash, where it looks like a host. */
export function registryOf(image: string): string {
  const [first = "", ...rest] = image.split("/");
  return rest.length > 0 && /[.:]|^localhost$/.test(first) ? first : "docker.io";
}
