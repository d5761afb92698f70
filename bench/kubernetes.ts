import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Case,
  judge,
  notRun,
  type Question,
  type Result,
  type RunOptions,
  takeTurns,
} from "./harness.ts";
import { type Part, type Parts, startPart } from "./part.ts";
import { median } from "./parts/spin.ts";

export const question: Question = {
  name: "kubernetes",
  asks: "What do jobs cost that run in pods, against bare pods made by the same client?",
  run,
};

const bench = "kubernetes";
const token = "admin-of-the-benchmarks";
const command = ["echo", "hello"];
const lot = { count: 30, inFlight: 15 };
/** Pods for each figure of a round, one after the other. */
const tries = 3;

async function run(options: RunOptions): Promise<readonly Result[]> {
  return [...(await onDouble(options)), ...(await onCluster(options))];
}

/** Jobs a second, where pods are processes of this machine. */
async function onDouble({ rounds }: RunOptions): Promise<readonly Result[]> {
  await using stack = new AsyncDisposableStack();
  const cluster = stack.use(await startPart("cluster"));
  const ground = { kubeconfig: await cluster.call("start"), host: "127.0.0.1" };
  const pods = stack.use(await startPart("pods"));
  await pods.call("open", { kubeconfig: ground.kubeconfig, prefix: "bench" });
  const sdk = stack.use(await startPart("sdk"));
  const server = await startServer(stack, { ...ground, namespace: "bench-jobs", settings: small });
  const cases: readonly Case[] = [
    {
      name: "bare_pods",
      measure: async () =>
        perSecond(await pods.call("runMany", { ...lot, image: "alpine:latest", command })),
    },
    {
      name: "jobs",
      measure: async () => perSecond(await sdk.call("runMany", { ...lot, ...server, command })),
    },
  ];
  const samples = await takeTurns(cases, rounds);
  const line = { bench, unit: "jobs/s" };
  return [
    judge(samples, { ...line, case: "bare_pods" }),
    judge(samples, { ...line, case: "jobs", against: "bare_pods" }),
  ];
}

/** From submit to the first byte of the log, on the cluster of the kubeconfig that kubectl would use. */
async function onCluster({ rounds }: RunOptions): Promise<readonly Result[]> {
  const { HODEI_BENCH_KUBERNETES_HOST: host = "", KUBECONFIG = "" } = process.env;
  if (process.env["HODEI_BENCH_KUBERNETES"] !== "1") {
    return ["bare_pod", "cold", "warm"].map((name) =>
      notRun(bench, name, "no cluster (HODEI_BENCH_KUBERNETES=1)"),
    );
  }
  if (host === "")
    throw new Error("HODEI_BENCH_KUBERNETES_HOST: this machine's address, as pods dial it");
  const kubeconfig = KUBECONFIG === "" ? join(homedir(), ".kube/config") : KUBECONFIG;
  const image = process.env["HODEI_BENCH_KUBERNETES_IMAGE"] ?? "hodei-jobs-worker:latest";
  const prefix = `hodei-bench-${randomBytes(3).toString("hex")}`;
  await using stack = new AsyncDisposableStack();
  const pods = stack.use(await startPart("pods"));
  await pods.call("open", { kubeconfig, prefix });
  stack.defer(() => pods.call("removeNamespaces", prefix));
  const sdk = stack.use(await startPart("sdk"));
  const ground = { kubeconfig, host };
  const cold = await startServer(stack, {
    ...ground,
    namespace: `${prefix}-cold`,
    settings: { HODEI_WORKER_IMAGE: image },
  });
  const warm = await startServer(stack, {
    ...ground,
    namespace: `${prefix}-warm`,
    settings: { HODEI_WORKER_IMAGE: image, HODEI_WARM_POOL: '[{"count": 1}]' },
  });
  const cases: readonly Case[] = [
    caseOf("bare_pod", async () => pods.call("firstByteMs", { image, command })),
    caseOf("cold", async () => {
      await sdk.call("readyWorkers", { ...cold, count: 0 });
      return sdk.call("firstByteMs", { ...cold, command });
    }),
    caseOf("warm", async () => {
      await sdk.call("readyWorkers", { ...warm, count: 1 });
      return sdk.call("firstByteMs", { ...warm, command });
    }),
  ];
  const samples = await takeTurns(cases, rounds);
  const line = {
    bench,
    unit: "ms",
    against: "bare_pod",
    target: { of: "ratio", atMost: 1.25 },
  } as const;
  return [
    judge(samples, { bench, unit: "ms", case: "bare_pod" }),
    judge(samples, { ...line, case: "cold" }),
    judge(samples, { ...line, case: "warm" }),
    judge(samples, {
      bench,
      unit: "ms",
      case: "warm",
      against: "cold",
      target: { of: "ratio", atMost: 1 },
    }),
  ];
}

/** So that the double's node holds a round at once. */
const small = {
  HODEI_K8S_DEFAULT_CPU_REQUEST: "50m",
  HODEI_K8S_DEFAULT_MEMORY_REQUEST: "64Mi",
};

interface Wanted {
  readonly kubeconfig: string;
  readonly host: string;
  readonly namespace: string;
  readonly settings: Readonly<Record<string, string>>;
}

interface At {
  readonly address: string;
  readonly token: string;
  readonly caFile: string;
}

/** A server with the settings of an installation, TLS too. */
async function startServer(stack: AsyncDisposableStack, wanted: Wanted): Promise<At> {
  const folder = await mkdtemp(join(tmpdir(), "hodei-bench-"));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const server: Part<Parts["server"]> = stack.use(await startPart("server"));
  const { address } = await server.call("start", {
    settings: {
      HODEI_DATA_DIRECTORY: folder,
      HODEI_LISTEN_ADDRESS: `${wanted.host}:0`,
      HODEI_TLS_AUTO: "1",
      HODEI_ADMIN_TOKEN: token,
      HODEI_WORKER_MAX_JOBS: "1",
      HODEI_KUBERNETES_ENABLED: "1",
      HODEI_K8S_KUBECONFIG: wanted.kubeconfig,
      HODEI_K8S_NAMESPACE: wanted.namespace,
      HODEI_K8S_INSTANCE_ID: wanted.namespace,
      HODEI_K8S_QUOTA_ENABLED: "0",
      HODEI_K8S_SERVER_CIDRS: `${wanted.host}/32`,
      ...wanted.settings,
    },
  });
  return { address, token, caFile: join(folder, "tls", "ca.crt") };
}

/** The median of some tries, one after the other. */
function caseOf(name: string, measureMs: () => Promise<number>): Case {
  return {
    name,
    async measure() {
      const times: number[] = [];
      for (let at = 0; at < tries; at++) times.push(await measureMs());
      return {
        value: median(times),
        more: { least: Math.min(...times), most: Math.max(...times) },
      };
    },
  };
}

function perSecond(elapsedMs: number) {
  return { value: (lot.count / elapsedMs) * 1_000 };
}
