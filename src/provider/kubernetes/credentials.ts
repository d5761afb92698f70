import { accessSync } from "node:fs";
import type { RequestOptions } from "node:https";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import type { KubernetesConfig } from "./config.ts";

/** Where the files of the machine are; tests put them elsewhere. */
export interface KubeFiles {
  readonly home?: string;
  /** Stands before `/var/run/secrets/…` of a pod. */
  readonly podRoot?: string;
}

/** What a connection needs of a cluster. */
export interface Cluster {
  /** With the path of a proxy such as `/k8s/clusters/a`, without a slash at the end. */
  readonly server: URL;
  readonly namespace: string;
  readonly proxyUrl: string | undefined;
}

/** TLS material, and the headers that say who calls. */
export interface Credentials {
  readonly tls: {
    readonly ca?: string | Buffer;
    readonly cert?: string | Buffer;
    readonly key?: string | Buffer;
    readonly servername?: string;
    readonly rejectUnauthorized?: boolean;
  };
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The kubeconfig that is meant: the given text, else the configured file, else KUBECONFIG, else the pod's own service account, else `~/.kube/config`.
 * Throws an error that names what was looked for.
 */
export function loadKubeConfig(config: KubernetesConfig, files: KubeFiles = {}): KubeConfig {
  const loaded = loadSource(config, files);
  if (config.context !== undefined) {
    if (loaded.getContextObject(config.context) === null) {
      const known = loaded.getContexts().map(({ name }) => name);
      throw new Error(
        `Kubernetes context ${config.context} is not in the kubeconfig; it has: ${known.join(", ")}`,
      );
    }
    loaded.setCurrentContext(config.context);
  }
  return loaded;
}

function loadSource(config: KubernetesConfig, files: KubeFiles): KubeConfig {
  const loaded = new KubeConfig();
  if (config.kubeconfigText !== undefined) {
    loaded.loadFromString(config.kubeconfigText);
    return loaded;
  }
  if (config.kubeconfigPath !== undefined) return loadFiles(loaded, [config.kubeconfigPath]);
  const named = config.kubeconfigEnv?.split(delimiter).filter((file) => file !== "") ?? [];
  if (named.length > 0) return loadFiles(loaded, named.filter(exists));
  const podRoot = files.podRoot ?? "";
  if (exists(`${podRoot}/var/run/secrets/kubernetes.io/serviceaccount/token`)) {
    loaded.loadFromCluster(podRoot);
    // Without the variables of a pod this is a leftover file, not a cluster.
    if (loaded.getCurrentCluster()?.server.includes("undefined") === false) return loaded;
  }
  const standard = join(files.home ?? homedir(), ".kube", "config");
  if (exists(standard)) return loadFiles(new KubeConfig(), [standard]);
  throw new Error(
    `no kubeconfig: neither HODEI_K8S_KUBECONFIG nor KUBECONFIG is set, this is no pod, and ${standard} does not exist`,
  );
}

/** As kubectl has it, the first file that has a name wins. */
function loadFiles(into: KubeConfig, files: readonly string[]): KubeConfig {
  const [first, ...others] = files;
  if (first === undefined) throw new Error("none of the files of KUBECONFIG exists");
  readInto(into, first);
  for (const file of others) {
    const more = readInto(new KubeConfig(), file);
    for (const one of more.getClusters())
      if (into.getCluster(one.name) === null) into.addCluster(one);
    for (const one of more.getUsers()) if (into.getUser(one.name) === null) into.addUser(one);
    for (const one of more.getContexts()) {
      if (into.getContextObject(one.name) === null) into.addContext(one);
    }
    if (!into.getCurrentContext()) into.setCurrentContext(more.getCurrentContext());
  }
  return into;
}

function readInto(into: KubeConfig, file: string): KubeConfig {
  try {
    into.loadFromFile(file);
  } catch (error) {
    // What a parser says quotes the file, keys and all.
    const { code, reason } = error as { readonly code?: unknown; readonly reason?: unknown };
    const why = [code, reason].filter((text) => typeof text === "string").join(": ");
    throw new Error(`cannot read the kubeconfig ${file}${why === "" ? "" : ` (${why})`}`);
  }
  return into;
}

function exists(file: string): boolean {
  try {
    accessSync(file);
    return true;
  } catch {
    return false;
  }
}

/** The cluster of the current context. Refuses what would send credentials in the clear or to anybody. */
export function clusterOf(loaded: KubeConfig, allowInsecure: boolean): Cluster {
  const cluster = loaded.getCurrentCluster();
  if (cluster === null) {
    const context = loaded.getCurrentContext();
    throw new Error(
      context
        ? `Kubernetes context ${context} names no cluster`
        : "the kubeconfig has no current context",
    );
  }
  const server = serverOf(cluster.server);
  if (!allowInsecure) {
    if (server.protocol === "http:" && !isLoopback(server.hostname)) {
      throw new Error(
        `the API server ${cluster.server} is plain HTTP; HODEI_K8S_ALLOW_INSECURE=1 allows that`,
      );
    }
    if (server.protocol === "https:" && cluster.skipTLSVerify) {
      throw new Error(
        `cluster ${cluster.name} says insecure-skip-tls-verify; HODEI_K8S_ALLOW_INSECURE=1 allows that`,
      );
    }
  }
  const namespace = loaded.getContextObject(loaded.getCurrentContext())?.namespace?.trim();
  return {
    server,
    namespace: namespace === undefined || namespace === "" ? "default" : namespace,
    proxyUrl: cluster.proxyUrl,
  };
}

function serverOf(text: string): URL {
  const server = URL.parse(text);
  if (server === null || !["http:", "https:"].includes(server.protocol)) {
    throw new Error(`the address of the API server is no URL: ${text}`);
  }
  server.pathname = server.pathname.replace(/\/+$/, "");
  return server;
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d+){3}$/.test(hostname);
}

/** Who calls, by whatever the kubeconfig says: tokens and their files, certificates, exec plugins, OIDC. May start a program. */
export async function readCredentials(loaded: KubeConfig): Promise<Credentials> {
  const options: RequestOptions = {};
  await withPlainAllowed(loaded).applyToHTTPSOptions(options);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    if (value !== undefined) headers[name.toLowerCase()] = String(value).trim();
  }
  if (typeof options.auth === "string") {
    headers["authorization"] = `Basic ${Buffer.from(options.auth).toString("base64")}`;
  }
  const { ca, cert, key, servername, rejectUnauthorized } = options;
  return {
    headers,
    tls: {
      ...(isText(ca) && { ca }),
      ...(isText(cert) && { cert }),
      ...(isText(key) && { key }),
      ...(servername !== undefined && { servername }),
      ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
    },
  };
}

/** The library makes an agent of its own, and refuses to for plain HTTP; that decision is `clusterOf`'s. */
function withPlainAllowed(loaded: KubeConfig): KubeConfig {
  const cluster = loaded.getCurrentCluster();
  if (cluster?.server.startsWith("http:") && !cluster.skipTLSVerify) {
    Object.assign(cluster, { skipTLSVerify: true });
  }
  return loaded;
}

function isText(value: unknown): value is string | Buffer {
  return typeof value === "string" || Buffer.isBuffer(value);
}
