import {
  AppsV1Api,
  CoreV1Api,
  type CoreV1Event,
  KubeConfig,
  NetworkingV1Api,
  PolicyV1Api,
  RbacAuthorizationV1Api,
  type V1Pod,
} from "@kubernetes/client-node";
import { randomBytes } from "node:crypto";
import { expect, vi } from "vitest";
import type { HodeiClient, Job, JobEvent, SubmitSpec } from "#client/client.ts";
import { ServerProcess } from "../../e2e/server-process.ts";

/** A cluster on which the suite runs: a real one, or the double. */
export interface Cluster extends AsyncDisposable {
  /** File with the credentials. */
  readonly kubeconfig: string;
  /** Image of the workers; the nodes must have it or be able to pull it. */
  readonly image: string;
  /** How pods reach this machine. */
  readonly serverHost: string;
  /** The same for network policies; `serverHost` is an IPv4 address unless given. */
  readonly serverCidrs?: readonly string[];
  /** More of the environment of servers. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whether a kernel stands behind the pods, so that users, limits and read-only roots are real. */
  readonly isReal: boolean;
  /** What was asked of it for workers so far, "create pods" and the like; only where the cluster counts that. */
  changes?(): readonly string[];
}

/** Pods end within their grace; nodes that are slow or many take longer to say so. */
const cleanMs = 180_000;
/** Of hooks that wait for a clean cluster, and of tests that end so. */
export const hookMs = cleanMs + 30_000;
/** Of one test: its pods may be the first on their nodes. */
export const testMs = 420_000;
/** Of hooks that open the cluster, where the image may have to be pulled. */
export const openMs = 480_000;

export interface StartOptions {
  /** More variables of the server. */
  readonly env?: Readonly<Record<string, string>>;
  /** Of the server's Node. */
  readonly nodeArguments?: readonly string[];
}

/** One cluster with servers on it, all in namespaces of one run. */
export class Ground implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly prefix = `hodei-e2e-${randomBytes(3).toString("hex")}`;
  readonly core: CoreV1Api;
  readonly rbac: RbacAuthorizationV1Api;
  readonly network: NetworkingV1Api;
  readonly policy: PolicyV1Api;
  readonly apps: AppsV1Api;
  /** Seconds from submit to each stage, for the report. */
  readonly timings: { readonly name: string; readonly seconds: Record<string, number> }[] = [];
  readonly #parts = new AsyncDisposableStack();
  #servers = 0;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    const config = new KubeConfig();
    config.loadFromFile(cluster.kubeconfig);
    this.core = config.makeApiClient(CoreV1Api);
    this.rbac = config.makeApiClient(RbacAuthorizationV1Api);
    this.network = config.makeApiClient(NetworkingV1Api);
    this.policy = config.makeApiClient(PolicyV1Api);
    this.apps = config.makeApiClient(AppsV1Api);
  }

  /** A server of its own, with a worker namespace of its own. */
  async start({ env = {}, nodeArguments = [] }: StartOptions = {}): Promise<Running> {
    const instance = `${this.prefix}-${++this.#servers}`;
    const { serverHost, serverCidrs = [`${serverHost}/32`], isReal } = this.cluster;
    const variables = (port: number) => ({
      ...this.cluster.env,
      HODEI_LISTEN_ADDRESS: `0.0.0.0:${port}`,
      HODEI_SERVER_ADDRESS: `${serverHost.includes(":") ? `[${serverHost}]` : serverHost}:${port}`,
      HODEI_TLS_AUTO: "1",
      HODEI_ADMIN_TOKEN: "admin-of-the-end-to-end-tests",
      HODEI_PROCESS_ENABLED: "0",
      HODEI_KUBERNETES_ENABLED: "1",
      HODEI_K8S_KUBECONFIG: this.cluster.kubeconfig,
      HODEI_K8S_NAMESPACE: instance,
      HODEI_K8S_NAMESPACE_PREFIX: `${instance}-t`,
      HODEI_K8S_INSTANCE_ID: instance,
      HODEI_WORKER_IMAGE: this.cluster.image,
      // Small, so that a laptop's cluster holds many.
      HODEI_K8S_DEFAULT_CPU_REQUEST: "50m",
      HODEI_K8S_DEFAULT_MEMORY_REQUEST: "64Mi",
      // Where policies are enforced, they have to let pods reach this machine.
      HODEI_K8S_SERVER_CIDRS: serverCidrs.join(","),
      ...slower,
      // Each node may have to pull the image first.
      ...(isReal && { HODEI_START_DEADLINE_MS: "300000" }),
      ...env,
    });
    const server = await ServerProcess.start(variables, nodeArguments);
    this.#parts.use(server);
    return new Running(this, server, instance);
  }

  /** What is left of this run: pods and secrets in all of its namespaces. */
  async leftovers(instance: string): Promise<readonly string[]> {
    const labelSelector = `hodei.io/instance=${instance}`;
    const [pods, secrets] = await Promise.all([
      this.core.listPodForAllNamespaces({ labelSelector }),
      this.core.listSecretForAllNamespaces({ labelSelector }),
    ]);
    return [
      ...pods.items.map((pod) => `pod ${pod.metadata?.namespace}/${pod.metadata?.name}`),
      ...secrets.items
        .filter((secret) => secret.metadata?.labels?.["hodei.io/worker-id"] !== undefined)
        .map((secret) => `secret ${secret.metadata?.namespace}/${secret.metadata?.name}`),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts[Symbol.asyncDispose]();
    const { items } = await this.core.listNamespace();
    const own = items.flatMap(({ metadata }) =>
      metadata?.name?.startsWith(this.prefix) === true ? [metadata.name] : [],
    );
    for (const name of own) await this.core.deleteNamespace({ name });
    await this.cluster[Symbol.asyncDispose]();
  }
}

/** A server that runs on the cluster. */
export class Running {
  readonly ground: Ground;
  readonly server: ServerProcess;
  readonly namespace: string;
  readonly client: HodeiClient;

  constructor(ground: Ground, server: ServerProcess, namespace: string) {
    this.ground = ground;
    this.server = server;
    this.namespace = namespace;
    this.client = server.client(undefined, { outageMs: 60_000 });
  }

  submit(spec: SubmitSpec, tenant?: string): Promise<string> {
    const options = tenant === undefined ? {} : { tenant };
    return this.client
      .submit({ provider: { name: "kubernetes", isStrict: true }, ...spec }, options)
      .then(({ id }) => id);
  }

  /** Runs a job to its end. */
  async run(spec: SubmitSpec, tenant?: string): Promise<Ran> {
    const id = await this.submit(spec, tenant);
    const job = await this.client.wait(id);
    return { job, output: await this.output(id), events: await this.events(id) };
  }

  async output(id: string, stream: "stdout" | "stderr" | "system" = "stdout"): Promise<string> {
    const parts: Buffer[] = [];
    for await (const record of this.client.logs(id, { follow: true })) {
      if (record.stream === stream) parts.push(Buffer.from(record.data));
    }
    return Buffer.concat(parts).toString();
  }

  /** The history until now. */
  async events(id: string): Promise<readonly JobEvent[]> {
    const events: JobEvent[] = [];
    const stop = new AbortController();
    const version = (await this.client.get(id)).version;
    for await (const event of this.client.watch(id, { signal: stop.signal })) {
      events.push(event);
      if (event.version >= version) break;
    }
    return events;
  }

  /** The first event that fits. */
  async event(id: string, fits: (event: JobEvent) => boolean): Promise<JobEvent> {
    for await (const event of this.client.watch(id)) if (fits(event)) return event;
    throw new Error("the history ended without such an event");
  }

  /** The pod of a job, as it is now. */
  async pod(id: string): Promise<V1Pod> {
    const job = await this.client.get(id);
    const workerId = job.attempts.at(-1)?.workerId ?? (await this.workerOf(id));
    const labelSelector = `hodei.io/worker-id=${workerId}`;
    const { items } = await this.ground.core.listPodForAllNamespaces({ labelSelector });
    const [pod] = items;
    if (pod === undefined) throw new Error(`job ${id} has no pod`);
    return pod;
  }

  async running(id: string): Promise<void> {
    await this.event(id, (event) => event.state === "running");
  }

  /** Resolves once nothing of this server's workers is left (DESIGN G12). */
  async isClean(): Promise<void> {
    await vi.waitFor(async () => expect(await this.ground.leftovers(this.namespace)).toEqual([]), {
      timeout: cleanMs,
      interval: 500,
    });
  }

  async podEvents(name: string): Promise<readonly CoreV1Event[]> {
    const fieldSelector = `involvedObject.name=${name}`;
    return (await this.ground.core.listEventForAllNamespaces({ fieldSelector })).items;
  }

  async workerOf(id: string): Promise<string> {
    const event = await this.event(id, ({ workerId }) => workerId !== undefined);
    return event.workerId ?? "";
  }
}

export interface Ran {
  readonly job: Job;
  readonly output: string;
  readonly events: readonly JobEvent[];
}

/** Pods are slower than processes. */
const slower = {
  HODEI_START_DEADLINE_MS: "60000",
  HODEI_RENEW_INTERVAL_MS: "1000",
  HODEI_SUSPECT_AFTER_MS: "5000",
  HODEI_DISCONNECT_GRACE_MS: "1000",
} as const;
