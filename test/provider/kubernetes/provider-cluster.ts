import { randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import type { V1ObjectMeta, V1Pod, V1Secret } from "@kubernetes/client-node";
import type { KubernetesConfig } from "#provider/kubernetes/config.ts";
import {
  type KubernetesProviderOptions,
  openKubernetesProvider,
} from "#provider/kubernetes/kubernetes-provider.ts";
import { podNameOf } from "#provider/kubernetes/names.ts";
import type { WorkerId } from "#job/id.ts";
import type { Provider } from "#provider/provider.ts";
import { type Answer, refuse, reply, type Seen, silent, startTinyApi } from "./ground-server.ts";

type Stored = V1Pod | V1Secret;

/** Just enough of a cluster to follow a worker through it: pods run as soon as they are made, and end as soon as they are deleted. */
export interface ProviderCluster extends AsyncDisposable {
  readonly pods: ReadonlyMap<string, V1Pod>;
  readonly secrets: ReadonlyMap<string, V1Secret>;
  /** What was called apart from watches, lists and the infrastructure, `POST pods`. */
  readonly calls: string[];
  readonly applied: string[];
  /** Answers in place of the cluster when it returns true. */
  intercept: (seen: Seen, response: ServerResponse) => boolean;
  /** The worker's container ends. */
  end(id: WorkerId, exitCode: number): void;
  put(pod: V1Pod): void;
  putSecret(secret: V1Secret): void;
  open(
    change?: Partial<KubernetesConfig>,
    options?: Partial<KubernetesProviderOptions>,
  ): Promise<Provider>;
}

export async function startProviderCluster(): Promise<ProviderCluster> {
  const world = new World();
  const api = await startTinyApi(world.answer);
  return Object.assign(world, {
    open: (
      change: Partial<KubernetesConfig> = {},
      options: Partial<KubernetesProviderOptions> = {},
    ) =>
      openKubernetesProvider({
        name: "kubernetes",
        config: { ...api.config, ...change },
        instanceId: "server",
        log: silent,
        ...options,
      }),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  });
}

interface Watch {
  readonly response: ServerResponse;
  readonly namespace: string | undefined;
}

interface Happening {
  readonly version: number;
  readonly namespace: string | undefined;
  readonly line: string;
}

function send({ response, namespace }: Watch, event: Happening): void {
  if (namespace === undefined || namespace === event.namespace) response.write(event.line);
}

class World {
  readonly pods = new Map<string, V1Pod>();
  readonly secrets = new Map<string, V1Secret>();
  readonly calls: string[] = [];
  readonly applied: string[] = [];
  readonly #watches = new Set<Watch>();
  readonly #history: Happening[] = [];
  #version = 1;

  intercept: ProviderCluster["intercept"] = () => false;

  readonly answer: Answer = (seen, response) => {
    const { method, path, query } = seen;
    const match = /^\/api\/v1\/(?:namespaces\/([^/]+)\/)?(pods|secrets|events)(?:\/([^/]+))?$/;
    const [, namespace, resource, name] = match.exec(path) ?? [];
    const isList = method === "GET" && name === undefined;
    if (resource !== undefined && !isList && method !== "PATCH") {
      this.calls.push(`${method} ${resource}`);
    }
    if (this.intercept(seen, response)) return;
    if (method === "PATCH") {
      this.applied.push(path);
      reply(response, 200, { metadata: { resourceVersion: "1" } });
    } else if (resource === undefined) refuse(response, 404);
    else if (isList && query.get("watch") === "true") {
      const since = Number(query.get("resourceVersion"));
      this.#watch(resource, { namespace, since }, response);
    } else if (isList) this.#list(resource, { namespace, query }, response);
    else if (method === "POST") this.#create(resource, namespace ?? "", { seen, response });
    else this.#one(`${namespace}/${name}`, resource, { seen, response });
  };

  end(id: WorkerId, exitCode: number): void {
    const pod = [...this.pods.values()].find(({ metadata }) => metadata?.name === podNameOf(id));
    if (pod === undefined) throw new Error(`there is no pod of ${id}`);
    const finishedAt = new Date();
    pod.status = {
      phase: exitCode === 0 ? "Succeeded" : "Failed",
      containerStatuses: [status({ terminated: { exitCode, reason: "Error", finishedAt } })],
    };
    this.#tell("MODIFIED", pod);
  }

  put(pod: V1Pod): void {
    const stored = this.#store(pod);
    this.pods.set(keyOf(stored), stored);
    this.#tell("ADDED", stored);
  }

  putSecret(secret: V1Secret): void {
    const stored = this.#store(secret);
    this.secrets.set(keyOf(stored), stored);
  }

  #create(
    resource: string,
    namespace: string,
    { seen, response }: { seen: Seen; response: ServerResponse },
  ): void {
    const body = seen.body as Stored;
    const key = `${namespace}/${body.metadata?.name}`;
    const all: Map<string, Stored> = resource === "pods" ? this.pods : this.secrets;
    if (all.has(key)) {
      const message = `${resource} "${body.metadata?.name}" already exists`;
      return refuse(response, 409, { reason: "AlreadyExists", message });
    }
    const stored = this.#store(body);
    all.set(key, stored);
    reply(response, 201, stored);
    if (resource !== "pods") return;
    this.#tell("ADDED", stored);
    const pod = this.pods.get(key);
    if (pod === undefined) return;
    pod.status = { phase: "Running", containerStatuses: [status({ running: {} })] };
    this.#tell("MODIFIED", pod);
  }

  #one(key: string, resource: string, at: { seen: Seen; response: ServerResponse }): void {
    const all: Map<string, Stored> = resource === "pods" ? this.pods : this.secrets;
    const found = all.get(key);
    if (found === undefined) return refuse(at.response, 404, { reason: "NotFound" });
    if (at.seen.method === "GET") return reply(at.response, 200, found);
    const wanted = (at.seen.body as { preconditions?: { uid?: string } } | undefined)?.preconditions
      ?.uid;
    if (wanted !== undefined && wanted !== found.metadata?.uid) {
      return refuse(at.response, 409, { reason: "Conflict" });
    }
    all.delete(key);
    reply(at.response, 200, found);
    if (resource !== "pods") return;
    const pod: V1Pod = found;
    const ended = { terminated: { exitCode: 143, reason: "Error" } };
    pod.status = { phase: "Failed", containerStatuses: [status(ended)] };
    this.#tell("MODIFIED", pod);
    this.#tell("DELETED", pod);
  }

  #list(
    resource: string,
    { namespace, query }: { namespace: string | undefined; query: URLSearchParams },
    response: ServerResponse,
  ): void {
    const all: Stored[] =
      resource === "events" ? [] : [...(resource === "pods" ? this.pods : this.secrets).values()];
    const terms = (query.get("labelSelector") ?? "").split(",").filter(Boolean);
    const items = all.filter(({ metadata }) => {
      if (namespace !== undefined && metadata?.namespace !== namespace) return false;
      return terms.every((term) => {
        const [key = "", value] = term.split("=");
        const own = metadata?.labels?.[key];
        return value === undefined ? own !== undefined : own === value;
      });
    });
    reply(response, 200, { items, metadata: { resourceVersion: String(this.#version) } });
  }

  #watch(
    resource: string,
    { namespace, since }: { namespace: string | undefined; since: number },
    response: ServerResponse,
  ): void {
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    if (resource !== "pods") return;
    const watch = { response, namespace };
    for (const event of this.#history) if (event.version > since) send(watch, event);
    this.#watches.add(watch);
    response.on("close", () => this.#watches.delete(watch));
  }

  #tell(type: string, object: Stored): void {
    const metadata: V1ObjectMeta = object.metadata ?? {};
    metadata.resourceVersion = String(++this.#version);
    const event = {
      version: this.#version,
      namespace: metadata.namespace,
      line: `${JSON.stringify({ type, object })}\n`,
    };
    this.#history.push(event);
    for (const watch of this.#watches) send(watch, event);
  }

  #store<Kind extends Stored>(object: Kind): Kind {
    const metadata = Object.assign(
      {
        uid: randomUUID(),
        creationTimestamp: new Date(),
        resourceVersion: String(++this.#version),
      },
      object.metadata,
    );
    return Object.assign(structuredClone(object), { metadata });
  }
}

function keyOf({ metadata }: Stored): string {
  return `${metadata?.namespace}/${metadata?.name}`;
}

function status(state: object) {
  return { name: "worker", state, ready: false, restartCount: 0, image: "", imageID: "" };
}
