import type { V1Namespace } from "@kubernetes/client-node";
import { setTimeout as wait } from "node:timers/promises";
import type { Logger } from "#telemetry.ts";
import type { KubernetesConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import { applyObject } from "./infrastructure-apply.ts";
import type { Infrastructure } from "./infrastructure-keep.ts";
import { isKubeError } from "./kube-error.ts";
import type { Scope } from "./pod-api.ts";
import type { PodPlace } from "./pod.ts";
import { caObject } from "./secret.ts";

export interface NamespacesOptions {
  readonly config: KubernetesConfig;
  readonly connection: Connection;
  readonly infrastructure: Infrastructure;
  readonly log: Logger;
}

/** A cluster that does not answer holds up nobody's start for longer. */
const mostOpenMs = 15_000;
const tenantNamespaces = "hodei.io/tenant-namespace=true";

/** The namespaces in which workers live: made ready when first needed, and searched for workers. */
export class WorkerNamespaces {
  readonly #options: NamespacesOptions;
  readonly #known: Set<string>;
  /** By namespace: the authority that its ConfigMap has. */
  readonly #authorities = new Map<string, { readonly ca: string; readonly done: Promise<void> }>();
  #isWhole: boolean;
  #problem = "";

  constructor(options: NamespacesOptions) {
    this.#options = options;
    this.#known = new Set([options.config.namespace]);
    this.#isWhole = options.config.dynamicNamespaces;
  }

  get known(): readonly string[] {
    return [...this.#known];
  }

  /** Why the namespace of workers is not as it should be; empty: it is. */
  get problem(): string {
    return this.#problem;
  }

  /** Where workers may be. The whole cluster is asked where that is allowed, else every namespace that is known. */
  get scope(): Scope {
    return this.#isWhole ? "cluster" : this.#known;
  }

  /** Makes the namespace of workers ready, and finds out where workers may be. What does not succeed now is tried again when it is needed. */
  async open(): Promise<void> {
    const { config, infrastructure, log } = this.#options;
    const { namespace } = config;
    const onError = (error: unknown): void => {
      this.#problem = error instanceof Error ? error.message : "unknown";
      log.error({ namespace, err: error }, "the cluster is not ready for workers");
    };
    const opening = Promise.all([
      infrastructure.ensure(namespace).catch(onError),
      this.#explore().catch(onError),
    ]);
    const waited = new AbortController();
    const long = wait(mostOpenMs, undefined, { signal: waited.signal }).catch(() => undefined);
    await Promise.race([opening, long]);
    waited.abort();
  }

  async #explore(): Promise<void> {
    if (!this.#isWhole || (await this.#mayList("/api/v1/pods"))) return;
    this.#isWhole = false;
    for (const name of await this.#listTenants()) {
      if (await this.#mayList(`/api/v1/namespaces/${name}/pods`)) this.#known.add(name);
    }
    const { log } = this.#options;
    log.warn({ namespaces: this.known }, "may not list pods of the cluster; looks only here");
  }

  /** Resolves once a worker's pod can be made there. Rejects with an `InfrastructureError`, or a `KubeError`. */
  async ensure(place: PodPlace, tenant: string | undefined, ca: string | undefined): Promise<void> {
    const { infrastructure, config } = this.#options;
    const { namespace } = place;
    this.#known.add(namespace);
    const owner = namespace === config.namespace ? undefined : tenant;
    await infrastructure.ensure(namespace, owner);
    if (namespace === config.namespace) this.#problem = "";
    if (config.attestation && ca !== undefined) await this.#ensureAuthority(place, ca);
  }

  /** The namespace turned out to be gone. */
  forget(namespace: string): void {
    this.#options.infrastructure.forget(namespace);
    this.#authorities.delete(namespace);
  }

  #ensureAuthority(place: PodPlace, ca: string): Promise<void> {
    const { namespace } = place;
    const before = this.#authorities.get(namespace);
    if (before?.ca === ca) return before.done;
    const { connection, config } = this.#options;
    const done = applyObject(caObject(config, ca, place), { connection, force: true }).then(
      () => undefined,
      (error: unknown) => {
        if (this.#authorities.get(namespace)?.done === done) this.#authorities.delete(namespace);
        throw error;
      },
    );
    this.#authorities.set(namespace, { ca, done });
    return done;
  }

  async #mayList(path: string): Promise<boolean> {
    try {
      await this.#options.connection.request({ method: "GET", path, query: { limit: "1" } });
      return true;
    } catch (error) {
      if (isKubeError(error, 403)) return false;
      throw error;
    }
  }

  async #listTenants(): Promise<string[]> {
    try {
      const { items } = await this.#options.connection.request<{ items: V1Namespace[] }>({
        method: "GET",
        path: "/api/v1/namespaces",
        query: { labelSelector: tenantNamespaces },
      });
      return items.flatMap(({ metadata }) => metadata?.name ?? []);
    } catch (error) {
      if (isKubeError(error, 403)) return [];
      throw error;
    }
  }
}
