import { setTimeout as wait } from "node:timers/promises";
import type { Logger } from "#telemetry.ts";
import type { Connection } from "./connection.ts";
import { isKubeError, KubeError } from "./kube-error.ts";

/** What the loop needs of an object. */
export interface Watched {
  readonly metadata?: { readonly uid?: string; readonly resourceVersion?: string };
}

/** Where what the loop learns goes. */
export interface Sink<T extends Watched> {
  /** One object of a list; not complete before `listed`. */
  found(object: T): void;
  /** The list is complete: whatever is not in it is gone. */
  listed(uids: ReadonlySet<string>): void;
  changed(type: "ADDED" | "MODIFIED" | "DELETED", object: T): void;
}

export interface LoopOptions {
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly log: Logger;
  readonly pace: Pace;
  /** Lists longer than this many pages are cut off; only where nobody needs the whole list. */
  readonly maxPages?: number;
  /** Called with whatever breaks the loop off; true ends it for good. */
  readonly isFatal?: (error: unknown) => boolean;
}

/** How patient a watch is. */
export interface Pace {
  /** Without a line for so long, bookmarks included, a watch counts as cut. */
  readonly idleMs: number;
  readonly minPauseMs: number;
  readonly maxPauseMs: number;
  readonly pageSize: number;
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly random: () => number;
}

export const defaultPace: Pace = {
  idleMs: 90_000,
  minPauseMs: 200,
  maxPauseMs: 30_000,
  pageSize: 500,
  random: Math.random,
};

/** The server closes a watch after this time, so that connections spread over its replicas. */
const watchSeconds = 290;
/** A watch that lived for so long has worked. */
const longLifeMs = 5_000;

/**
 * Lists, then watches from there, until the signal aborts. A watch that is cut is taken up at the last version that was seen; only when the server has
 * forgotten that (410), everything is listed again. Errors are waited out with a growing pause.
 */
export async function runWatch<T extends Watched>(
  connection: Connection,
  options: LoopOptions & { readonly signal: AbortSignal },
  sink: Sink<T>,
): Promise<void> {
  const { log, pace, path, signal } = options;
  let version: string | undefined;
  let failures = 0;
  while (!signal.aborted) {
    const begin = performance.now();
    let lines = 0;
    try {
      version ??= await list(connection, options, sink);
      for await (const line of linesOf(connection, options, version)) {
        lines += 1;
        version = apply(line, sink) ?? version;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (isGone(error)) version = undefined;
      if (options.isFatal?.(error) === true) return;
      const err = error instanceof Error ? error.message : String(error);
      log[failures === 3 ? "warn" : "debug"]({ path, err }, "watch broke off");
      const hasWorked = lines > 0 || performance.now() - begin > longLifeMs;
      failures = hasWorked ? 1 : failures + 1;
      await pause(pace, { failures, error, signal });
      continue;
    }
    // The server ends watches now and then; one that ends early, again and again, is not begun again at once.
    const hasLived = performance.now() - begin > longLifeMs;
    failures = hasLived ? 0 : lines > 0 ? 1 : failures + 1;
    if (failures > 0) await pause(pace, { failures, error: undefined, signal });
  }
}

interface ListPage<T> {
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items?: readonly T[] | null;
}

/** The version that the list shows. */
async function list<T extends Watched>(
  connection: Connection,
  { path, query, pace, maxPages = Infinity, signal }: LoopOptions & { signal: AbortSignal },
  sink: Sink<T>,
): Promise<string> {
  const uids = new Set<string>();
  let version = "";
  let next = "";
  for (let page = 0; page < maxPages; page++) {
    const { metadata, items } = await connection.request<ListPage<T>>({
      method: "GET",
      path,
      query: {
        ...query,
        limit: String(pace.pageSize),
        ...(next === "" ? {} : { continue: next }),
      },
      signal,
    });
    for (const item of items ?? []) {
      uids.add(item.metadata?.uid ?? "");
      sink.found(item);
    }
    // Every page shows the same moment.
    if (page === 0) version = metadata?.resourceVersion ?? "";
    next = metadata?.continue ?? "";
    if (next === "") break;
  }
  sink.listed(uids);
  return version;
}

interface WatchLine {
  readonly type: string;
  readonly object: Watched & { readonly code?: number; readonly message?: string };
}

async function* linesOf(
  connection: Connection,
  { path, query, pace, signal }: LoopOptions & { signal: AbortSignal },
  version: string,
): AsyncGenerator<string> {
  const idle = new AbortController();
  const timer = setTimeout(() => idle.abort(new Error("the watch fell silent")), pace.idleMs);
  try {
    const stream = await connection.stream({
      path,
      query: {
        ...query,
        watch: "true",
        allowWatchBookmarks: "true",
        resourceVersion: version,
        timeoutSeconds: String(watchSeconds),
      },
      signal: AbortSignal.any([signal, idle.signal]),
    });
    for await (const line of stream) {
      timer.refresh();
      if (line !== "") yield line;
    }
  } finally {
    clearTimeout(timer);
  }
}

/** The version that the line stands for. */
function apply<T extends Watched>(text: string, sink: Sink<T>): string | undefined {
  const { type, object } = JSON.parse(text) as WatchLine;
  switch (type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      sink.changed(type, object as T);
      return object.metadata?.resourceVersion;
    case "BOOKMARK":
      return object.metadata?.resourceVersion;
    case "ERROR":
      throw new KubeError({
        call: "watch",
        status: object.code ?? 500,
        message: object.message ?? "the watch failed",
      });
    default:
      return undefined;
  }
}

/** The server no longer knows the version that the watch was to go on from. */
function isGone(error: unknown): boolean {
  return isKubeError(error, 410);
}

async function pause(
  { minPauseMs, maxPauseMs, random }: Pace,
  after: { readonly failures: number; readonly error: unknown; readonly signal: AbortSignal },
): Promise<void> {
  const { failures, error, signal } = after;
  const wished = error instanceof KubeError ? (error.retryAfterMs ?? 0) : 0;
  const grown = Math.min(maxPauseMs, minPauseMs * 2 ** Math.min(failures - 1, 20));
  const ms = Math.max(Math.min(wished, maxPauseMs), grown * (0.5 + random() / 2));
  // The pause ends early by an abort; that is not an error.
  await wait(ms, undefined, { signal }).catch(() => undefined);
}
