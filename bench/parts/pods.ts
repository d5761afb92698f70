import type { V1Pod } from "@kubernetes/client-node";
import { randomBytes } from "node:crypto";
import { defaultKubernetesConfig } from "#provider/kubernetes/config.ts";
import { type Connection, openConnection } from "#provider/kubernetes/connection.ts";
import { isKubeError } from "#provider/kubernetes/kube-error.ts";
import { createLogger } from "#telemetry.ts";
import { inLots, type Lot } from "./spin.ts";

/** Bare pods, made by the client that the product has, without any of the rest. */
export const calls = { open, runMany, firstByteMs, removeNamespaces, stop };

export interface BarePod {
  readonly image: string;
  readonly command: readonly string[];
}

let connection: Connection | undefined;
let namespace = "";
let last = 0;

/** Makes a namespace for the pods; resolves once it takes them. */
async function open(at: { readonly kubeconfig: string; readonly prefix: string }): Promise<void> {
  const config = { ...defaultKubernetesConfig, kubeconfigPath: at.kubeconfig };
  connection = await openConnection(config, { log: createLogger("error") });
  namespace = `${at.prefix}-bare`;
  const body = { metadata: { name: namespace } };
  await connection.request({ method: "POST", path: "/api/v1/namespaces", body });
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/default`;
  for (;;) {
    const account = await connection.request({ method: "GET", path }).catch((error: unknown) => {
      if (!isKubeError(error, 404)) throw error;
    });
    if (account !== undefined) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Creates pods, waits until each has ended, deletes them; gives how long that took. */
async function runMany(lot: Lot & BarePod): Promise<number> {
  const ended = new Map<string, () => void>();
  const stopWatch = new AbortController();
  const watched = watchPods({ signal: stopWatch.signal }, (pod) => {
    if (pod.status?.phase === "Succeeded") ended.get(pod.metadata?.name ?? "")?.();
  });
  const startedAt = performance.now();
  await inLots(lot, async () => {
    const name = nextName();
    const { promise, resolve } = Promise.withResolvers<void>();
    ended.set(name, resolve);
    await createPod(name, lot);
    await promise;
    await deletePod(name);
  });
  const elapsedMs = performance.now() - startedAt;
  stopWatch.abort();
  await watched;
  return elapsedMs;
}

/** From the creation of a pod to the first line of its log, followed through the API. */
async function firstByteMs(pod: BarePod): Promise<number> {
  const name = nextName();
  const stopWatch = new AbortController();
  const { promise: started, resolve } = Promise.withResolvers<void>();
  const watched = watchPods({ signal: stopWatch.signal, name }, (seen) => {
    const state = seen.status?.containerStatuses?.[0]?.state;
    if (state?.running !== undefined || state?.terminated !== undefined) resolve();
  });
  const startedAt = performance.now();
  await createPod(name, pod);
  await started;
  const path = `${podsPath()}/${name}/log`;
  const lines = await api().stream({ path, query: { follow: "true" }, signal: stopWatch.signal });
  for await (const _line of lines) break;
  const elapsedMs = performance.now() - startedAt;
  stopWatch.abort();
  await watched;
  await deletePod(name);
  return elapsedMs;
}

/** Deletes every namespace of this run. */
async function removeNamespaces(prefix: string): Promise<void> {
  const path = "/api/v1/namespaces";
  const { items } = await api().request<{ readonly items: readonly V1Pod[] }>({
    method: "GET",
    path,
  });
  for (const { metadata } of items) {
    const name = metadata?.name ?? "";
    if (!name.startsWith(prefix)) continue;
    await api().request({ method: "DELETE", path: `${path}/${name}` });
  }
}

async function stop(): Promise<void> {
  await connection?.[Symbol.asyncDispose]();
}

function api(): Connection {
  if (connection === undefined) throw new Error("no cluster was opened");
  return connection;
}

function podsPath(): string {
  return `/api/v1/namespaces/${namespace}/pods`;
}

function nextName(): string {
  return `bare-${randomBytes(3).toString("hex")}-${++last}`;
}

/** As `kubectl run` makes one. */
async function createPod(name: string, { image, command }: BarePod): Promise<void> {
  const body = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: {
      restartPolicy: "Never",
      containers: [{ name: "bare", image, command, imagePullPolicy: "IfNotPresent" }],
    },
  };
  await api().request({ method: "POST", path: podsPath(), body });
}

async function deletePod(name: string): Promise<void> {
  const body = { gracePeriodSeconds: 1 };
  await api().request({ method: "DELETE", path: `${podsPath()}/${name}`, body });
}

/** Until the signal aborts. */
async function watchPods(
  at: { readonly signal: AbortSignal; readonly name?: string },
  seen: (pod: V1Pod) => void,
): Promise<void> {
  const query = {
    watch: "true",
    ...(at.name === undefined ? {} : { fieldSelector: `metadata.name=${at.name}` }),
  };
  try {
    for await (const line of await api().stream({ path: podsPath(), query, signal: at.signal })) {
      seen((JSON.parse(line) as { readonly object: V1Pod }).object);
    }
  } catch (error) {
    if (!at.signal.aborted) throw error;
  }
}
