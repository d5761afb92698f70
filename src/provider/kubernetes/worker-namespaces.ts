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
/** Namespaces that are searched for Secrets in one round. */
const atOnce = 32;
const tenantNamespaces = "hodei.io/tenant-namespace=true";

/** The namespaces in which workers live: made ready when first needed, and searched for workers. */
export class WorkerNamespaces {
  readonly #options: NamespacesOptions;
  readonly #known: Set<string>;
  /** By namespace: the authority that its ConfigMap has. */
  readonly #authorities = new Map<string, { readonly ca: string; readonly done: Promise<void> }>();
  #isWhole: boolean;
  #maySeeSecrets: boolean;
  #round = 0;
  #problem = "";

  constructor(options: NamespacesOptions) {
    this.#options = options;
    this.#known = new Set([options.config.namespace]);
    this.#isWhole = options.config.dynamicNamespaces;
    this.#maySeeSecrets = options.config.dynamicNamespaces;
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

  /**
   * Where to look now for Secrets that were left: in the whole cluster where they may be read there, else in the namespaces that are known,
   * many of them in turns, each twice in a row.
   */
  secretScope(): Scope {
    if (this.#maySeeSecrets) return "cluster";
    const names = this.known;
    const turns = Math.ceil(names.length / atOnce);
    const first = (Math.floor(this.#round++ / 2) % turns) * atOnce;
    return new Set(names.slice(first, first + atOnce));
  }

  /** Finds the namespaces of tenants that somebody else has made since, and forgets those that are gone. */
  async refresh(): Promise<void> {
    if (!this.#options.config.dynamicNamespaces || (this.#isWhole && this.#maySeeSecrets)) return;
    await this.#findTenants();
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
    if (!this.#isWhole) return;
    this.#maySeeSecrets = await this.#mayList("/api/v1/secrets");
    this.#isWhole = await this.#mayList("/api/v1/pods");
    if (this.#isWhole && this.#maySeeSecrets) return;
    await this.#findTenants();
    if (this.#isWhole) return;
    const { log } = this.#options;
    log.warn({ namespaces: this.known }, "may not list pods of the cluster; looks only here");
  }

  async #findTenants(): Promise<void> {
    const tenants = await this.#listTenants();
    if (tenants === undefined) return;
    for (const name of this.#known) {
      if (name !== this.#options.config.namespace && !tenants.includes(name)) {
        this.#known.delete(name);
      }
    }
    for (const name of tenants) {
      if (this.#known.has(name)) continue;
      const isOurs =
        (await this.#mayList(`/api/v1/namespaces/${name}/pods`)) &&
        (await this.#mayList(`/api/v1/namespaces/${name}/secrets`));
      if (isOurs) this.#known.add(name);
    }
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

  /** Undefined: they may not be listed. */
  async #listTenants(): Promise<string[] | undefined> {
    try {
      const { items } = await this.#options.connection.request<{ items: V1Namespace[] }>({
        method: "GET",
        path: "/api/v1/namespaces",
        query: { labelSelector: tenantNamespaces },
      });
      return items.flatMap(({ metadata }) => metadata?.name ?? []);
    } catch (error) {
      if (isKubeError(error, 403)) return undefined;
      throw error;
    }
  }
}
