import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { Identity } from "../fake/kubernetes/kubeconfig.ts";
import type { KubernetesDouble } from "../fake/kubernetes/kubernetes.ts";
import { recordingsDirectory } from "../fake/kubernetes/recordings.ts";

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  // As a test reads it.
  readonly body: Body;
}

/** An object or a Status. */
export interface Body {
  readonly kind?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly details?: { readonly causes?: readonly { field: string; message: string }[] };
  readonly metadata?: {
    readonly name?: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
    readonly continue?: string;
    readonly remainingItemCount?: number;
    readonly generation?: number;
    readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly managedFields?: readonly { manager: string; operation: string }[];
  };
  readonly items?: readonly Body[];
  readonly [field: string]: unknown;
}

/** A call over plain HTTP, as the recorded ones were made. */
export async function call(
  double: KubernetesDouble,
  method: string,
  path: string,
  options: { body?: unknown; headers?: Readonly<Record<string, string>>; as?: Identity } = {},
): Promise<Reply> {
  const { body, headers = {}, as } = options;
  const response = await fetch(double.url + path, {
    method,
    headers: {
      "content-type": "application/json",
      ...(as?.token === undefined ? {} : { authorization: `Bearer ${as.token}` }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const json = text.startsWith("{") ? (JSON.parse(text) as Body) : { text };
  return { status: response.status, headers: response.headers, body: json };
}

export const applyHeaders = { "content-type": "application/apply-patch+yaml" };
export const mergeHeaders = { "content-type": "application/merge-patch+json" };

export function podBody(name: string, spec: object = {}, metadata: object = {}): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: { "hodei.io/managed": "true" }, ...metadata },
    spec: {
      restartPolicy: "Never",
      terminationGracePeriodSeconds: 3,
      automountServiceAccountToken: false,
      containers: [{ name: "worker", image: "alpine:latest", command: ["true"] }],
      ...spec,
    },
  };
}

/** The events of a watch until the predicate is content with them or the answer ends. */
export async function watchUntil(
  double: KubernetesDouble,
  path: string,
  isEnough: (events: readonly WatchEvent[]) => boolean,
  as?: Identity,
): Promise<readonly WatchEvent[]> {
  const stop = new AbortController();
  const response = await fetch(double.url + path, {
    signal: stop.signal,
    headers: as?.token === undefined ? {} : { authorization: `Bearer ${as.token}` },
  });
  const events: WatchEvent[] = [];
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) events.push(JSON.parse(line) as WatchEvent);
    if (isEnough(events)) break;
  }
  stop.abort();
  return events;
}

export interface WatchEvent {
  readonly type: string;
  readonly object: Body;
}

export interface RecordedCall {
  readonly label: string;
  readonly method: string;
  readonly path: string;
  readonly request?: unknown;
  readonly status: number;
  readonly response: Body;
}

export function readCalls(topic: string): RecordedCall[] {
  return readLines(`call-${topic}`) as RecordedCall[];
}

export function readWatch(): (WatchEvent & { readonly label: string })[] {
  return readLines("watch") as (WatchEvent & { label: string })[];
}

function readLines(name: string): unknown[] {
  const text = readFileSync(join(recordingsDirectory, `${name}.jsonl`), "utf8");
  return text
    .trim()
    .split("\n")
    .map((line): unknown => JSON.parse(line));
}
