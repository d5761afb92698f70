import type { KubeConfig } from "@kubernetes/client-node";
import { type Dispatcher, Pool, ProxyAgent } from "undici";
import type { KubernetesConfig } from "./config.ts";
import { type Cluster, type Credentials, readCredentials } from "./credentials.ts";

/** Files of tokens are looked at again after this long. */
const credentialsMs = 30_000;
const connectTimeoutMs = 10_000;
// Less than the minute after which load balancers forget a connection.
const keepAliveMs = 30_000;

export interface LinkOptions {
  readonly cluster: Cluster;
  /** Reads the kubeconfig again. */
  readonly load: () => KubeConfig;
  readonly config: KubernetesConfig;
}

interface Pools {
  readonly tlsKey: string;
  readonly calls: Dispatcher;
  /** A watch holds its connection, so that calls would run out of them. */
  readonly watches: Dispatcher;
}

/** The connections to one API server, and the credentials on them, which run out and are read again. */
export class Link implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly #options: LinkOptions;
  #loaded: KubeConfig;
  #credentials: Credentials;
  #readAt = performance.now();
  #pools: Pools;
  #reading: Promise<Credentials> | undefined;

  static async open(options: LinkOptions): Promise<Link> {
    const loaded = options.load();
    return new Link(options, loaded, await readCredentials(loaded));
  }

  private constructor(options: LinkOptions, loaded: KubeConfig, credentials: Credentials) {
    this.cluster = options.cluster;
    this.#options = options;
    this.#loaded = loaded;
    this.#credentials = credentials;
    this.#pools = this.#open(credentials);
  }

  /** Those of now. */
  async credentials(): Promise<Credentials> {
    if (performance.now() - this.#readAt < credentialsMs) return this.#credentials;
    return this.#read(this.#loaded);
  }

  /** Gets new ones, unless `refused` are no longer those of now; concurrent callers share one reading. */
  async renew(refused: Credentials): Promise<void> {
    if (this.#credentials !== refused) return;
    // A fresh kubeconfig has forgotten what the plugin or the token file said.
    await this.#read(this.#options.load());
  }

  async send(
    options: Omit<Dispatcher.RequestOptions, "origin" | "headers"> & {
      readonly headers: Readonly<Record<string, string>>;
    },
    pool: "calls" | "watches",
  ): Promise<Dispatcher.ResponseData> {
    const { server } = this.cluster;
    const basePath = server.pathname === "/" ? "" : server.pathname;
    return this.#pools[pool].request({
      ...options,
      origin: server.origin,
      path: basePath + options.path,
      headers: { "user-agent": "hodei-jobs", ...this.#credentials.headers, ...options.headers },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#pools.calls.destroy(), this.#pools.watches.destroy()]);
  }

  #read(loaded: KubeConfig): Promise<Credentials> {
    this.#reading ??= readCredentials(loaded)
      .then((credentials) => this.#use(loaded, credentials))
      .finally(() => {
        this.#reading = undefined;
      });
    return this.#reading;
  }

  #use(loaded: KubeConfig, credentials: Credentials): Credentials {
    this.#loaded = loaded;
    this.#readAt = performance.now();
    if (JSON.stringify(credentials) === JSON.stringify(this.#credentials)) {
      return this.#credentials;
    }
    this.#credentials = credentials;
    if (tlsKeyOf(credentials) !== this.#pools.tlsKey) {
      const old = this.#pools;
      this.#pools = this.#open(credentials);
      // What is under way on them ends first; watches are opened again by whoever reads them.
      void old.calls.close();
      void old.watches.destroy();
    }
    return credentials;
  }

  #open(credentials: Credentials): Pools {
    const { tls } = credentials;
    const { server, proxyUrl } = this.cluster;
    const options = {
      keepAliveTimeout: keepAliveMs,
      // Calls share connections one after the other; that is also what was measured.
      allowH2: false,
      connect: {
        ...tls,
        timeout: connectTimeoutMs,
        keepAlive: true,
        keepAliveInitialDelay: 30_000,
      },
    };
    const open = (connections: number | null): Dispatcher =>
      proxyUrl === undefined
        ? new Pool(server.origin, { ...options, connections })
        : new ProxyAgent({ uri: proxyUrl, requestTls: tls, allowH2: false, connections });
    return {
      tlsKey: tlsKeyOf(credentials),
      calls: open(this.#options.config.maxConnections),
      watches: open(null),
    };
  }
}

function tlsKeyOf({ tls }: Credentials): string {
  return JSON.stringify(tls, (_, value: unknown) =>
    value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value,
  );
}
