import type { V1Pod, V1Secret } from "@kubernetes/client-node";
import type { Connection } from "./connection.ts";
import { isKubeError } from "./kube-error.ts";

/** Where workers may be: in the whole cluster, or in these namespaces. */
export type Scope = "cluster" | ReadonlySet<string>;

const pageSize = 500;

interface List<Item> {
  readonly items: readonly Item[];
  readonly metadata?: { readonly continue?: string };
}

/** The calls that workers need. */
export class PodApi {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  createPod(pod: V1Pod): Promise<V1Pod> {
    const path = podsIn(pod.metadata?.namespace);
    return this.#connection.request<V1Pod>({ method: "POST", path, body: pod });
  }

  /** Undefined: there is none of that name. */
  findPod(namespace: string, name: string): Promise<V1Pod | undefined> {
    const path = `${podsIn(namespace)}/${name}`;
    return orMissing(this.#connection.request<V1Pod>({ method: "GET", path }));
  }

  /** False: there is none of that name, or it is another one. */
  async deletePod(
    at: { readonly namespace: string; readonly name: string; readonly uid: string | undefined },
    graceMs: number,
  ): Promise<boolean> {
    const { uid } = at;
    const body = {
      // At 0 the API forgets the pod while its processes may still run.
      gracePeriodSeconds: Math.max(1, Math.ceil(graceMs / 1000)),
      ...(uid === undefined ? {} : { preconditions: { uid } }),
    };
    const path = `${podsIn(at.namespace)}/${at.name}`;
    try {
      await this.#connection.request({ method: "DELETE", path, body });
      return true;
    } catch (error) {
      if (isKubeError(error, 404) || isKubeError(error, 409)) return false;
      throw error;
    }
  }

  listPods(scope: Scope, labelSelector: string): Promise<V1Pod[]> {
    return this.#list<V1Pod>("pods", scope, labelSelector);
  }

  createSecret(secret: V1Secret): Promise<unknown> {
    const path = secretsIn(secret.metadata?.namespace);
    return this.#connection.request({ method: "POST", path, body: secret });
  }

  async deleteSecret(namespace: string, name: string): Promise<void> {
    const path = `${secretsIn(namespace)}/${name}`;
    await orMissing(this.#connection.request({ method: "DELETE", path }));
  }

  /** Of several namespaces those that may be read: one whose Secrets are not ours to read has none of ours. */
  async listSecrets(scope: Scope, labelSelector: string): Promise<V1Secret[]> {
    if (scope === "cluster" || scope.size === 1) {
      return this.#list<V1Secret>("secrets", scope, labelSelector);
    }
    const lists = [...scope].map((name) =>
      this.#list<V1Secret>("secrets", new Set([name]), labelSelector).catch((error: unknown) => {
        if (isKubeError(error, 403)) return [];
        throw error;
      }),
    );
    return (await Promise.all(lists)).flat();
  }

  async #list<Item>(resource: string, scope: Scope, labelSelector: string): Promise<Item[]> {
    const paths =
      scope === "cluster"
        ? [`/api/v1/${resource}`]
        : [...scope].map((namespace) => `/api/v1/namespaces/${namespace}/${resource}`);
    const lists = await Promise.all(paths.map((path) => this.#pages<Item>(path, labelSelector)));
    return lists.flat();
  }

  async #pages<Item>(path: string, labelSelector: string): Promise<Item[]> {
    const items: Item[] = [];
    let next: string | undefined;
    do {
      const query = {
        labelSelector,
        limit: String(pageSize),
        ...(next === undefined ? {} : { continue: next }),
      };
      const list: List<Item> = await this.#connection.request({ method: "GET", path, query });
      items.push(...list.items);
      next = list.metadata?.continue || undefined;
    } while (next !== undefined);
    return items;
  }
}

function podsIn(namespace = ""): string {
  return `/api/v1/namespaces/${namespace}/pods`;
}

function secretsIn(namespace = ""): string {
  return `/api/v1/namespaces/${namespace}/secrets`;
}

async function orMissing<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (isKubeError(error, 404)) return undefined;
    throw error;
  }
}
