import { every } from "#every.ts";
import type { Logger } from "#telemetry.ts";
import type { KubernetesConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import { ensureInfrastructure, infrastructureObjects } from "./infrastructure.ts";
import { applyObject } from "./infrastructure-apply.ts";
import { commonLabels, workersBinding } from "./infrastructure-parts.ts";
import { isKubeError } from "./kube-error.ts";
import { keys } from "./names.ts";

/** The namespaces of workers, made when first needed. */
export interface Infrastructure extends AsyncDisposable {
  /**
   * Resolves once the namespace is ready for pods. Concurrent callers share one run, a namespace that is ready costs nothing, and what failed is tried
   * again by the next caller. Rejects with an `InfrastructureError`.
   */
  ensure(namespace: string, tenant?: string): Promise<void>;
  /** The namespace turned out to be gone: the next `ensure` makes it anew. */
  forget(namespace: string): void;
  /** Copies the pull secrets again where they have changed. */
  refreshSecrets(): Promise<void>;
}

export interface InfrastructureOptions {
  readonly connection: Connection;
  readonly config: KubernetesConfig;
  readonly log: Logger;
  readonly refreshIntervalMs?: number;
}

const defaultRefreshMs = 60_000;
/** Types of Secrets that a kubelet takes for pulling images. */
const pullTypes: readonly (string | undefined)[] = [
  "kubernetes.io/dockerconfigjson",
  "kubernetes.io/dockercfg",
];

/** Looks after the namespaces of workers; calls nothing before the first `ensure`. */
export function startInfrastructure(options: InfrastructureOptions): Infrastructure {
  const kept = new KeptInfrastructure(options);
  if (options.config.imagePullSecrets.length === 0) return kept;
  const loop = every(
    {
      intervalMs: options.refreshIntervalMs ?? defaultRefreshMs,
      onError: (error) => options.log.warn({ err: error }, "pull secrets not copied"),
    },
    () => kept.refreshSecrets(),
  );
  kept.stack.use(loop);
  return kept;
}

interface PullSecret {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string };
  readonly type?: string;
  readonly data?: Readonly<Record<string, string>>;
}

class KeptInfrastructure implements Infrastructure {
  readonly stack = new AsyncDisposableStack();
  readonly #options: InfrastructureOptions;
  readonly #stop = new AbortController();
  /** By namespace; a promise of a run under way, or of one that was good. */
  readonly #ready = new Map<string, Promise<void>>();
  /** By namespace and Secret: the version of the original that was copied. */
  readonly #copied = new Map<string, string>();

  constructor(options: InfrastructureOptions) {
    this.#options = options;
  }

  ensure(namespace: string, tenant?: string): Promise<void> {
    const known = this.#ready.get(namespace);
    if (known !== undefined) return known;
    const run = this.#make(namespace, tenant).catch((error: unknown) => {
      if (this.#ready.get(namespace) === run) this.#ready.delete(namespace);
      throw error;
    });
    this.#ready.set(namespace, run);
    return run;
  }

  forget(namespace: string): void {
    this.#ready.delete(namespace);
    for (const key of this.#copied.keys()) {
      if (key.startsWith(`${namespace}/`)) this.#copied.delete(key);
    }
  }

  async refreshSecrets(): Promise<void> {
    const namespaces = [...this.#ready.keys()].filter((name) => !this.#isHome(name));
    if (namespaces.length > 0) await this.#copySecrets(namespaces);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.stack.disposeAsync();
  }

  async #make(namespace: string, tenant: string | undefined): Promise<void> {
    const { connection, config, log } = this.#options;
    if (config.createInfrastructure) {
      const objects = infrastructureObjects(config, namespace, tenant);
      const { signal } = this.#stop;
      const ownRights = workersBinding(config, { namespace, labels: commonLabels(tenant) });
      const options = { log, signal, ...(config.dynamicNamespaces && { ownRights }) };
      await ensureInfrastructure(connection, objects, options);
      log.info({ namespace, tenant, objects: objects.length }, "worker namespace is ready");
    }
    if (!this.#isHome(namespace)) await this.#copySecrets([namespace]);
  }

  #isHome(namespace: string): boolean {
    return namespace === this.#options.config.namespace;
  }

  /** A missing Secret stops nobody: the image may be public, and where it is not, the pod's events say so. */
  async #copySecrets(namespaces: readonly string[]): Promise<void> {
    const { config, log } = this.#options;
    for (const name of config.imagePullSecrets) {
      try {
        const original = await this.#readSecret(name);
        for (const namespace of namespaces) await this.#copySecret(original, namespace);
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        const isMissing = isKubeError(error, 404);
        log.warn(
          { secret: name, namespace: config.namespace, ...(!isMissing && { err: error }) },
          isMissing ? "pull secret is missing" : "pull secret not copied",
        );
      }
    }
  }

  #readSecret(name: string): Promise<PullSecret> {
    const { connection, config } = this.#options;
    return connection.request<PullSecret>({
      method: "GET",
      path: `/api/v1/namespaces/${config.namespace}/secrets/${name}`,
      signal: this.#stop.signal,
    });
  }

  async #copySecret(original: PullSecret, namespace: string): Promise<void> {
    const { name, resourceVersion = "" } = original.metadata;
    const key = `${namespace}/${name}`;
    if (resourceVersion !== "" && this.#copied.get(key) === resourceVersion) return;
    if (!pullTypes.includes(original.type)) {
      throw new Error(
        `Secret ${name} is of type ${original.type ?? "Opaque"}, not for pulling images`,
      );
    }
    await applyObject(
      {
        apiVersion: "v1",
        kind: "Secret",
        metadata: {
          name,
          namespace,
          labels: { [keys.managed]: "true", [keys.component]: "pull-secret" },
        },
        type: original.type,
        data: original.data ?? {},
      },
      { connection: this.#options.connection, signal: this.#stop.signal, force: true },
    );
    this.#copied.set(key, resourceVersion);
  }
}
