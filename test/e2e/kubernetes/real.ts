import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { vi } from "vitest";
import type { Cluster } from "./ground.ts";

/**
 * The cluster of the kubeconfig that kubectl would use. `HODEI_K8S_TEST_IMAGE` is the image of the workers (`hodei-jobs-worker:latest`), which the nodes
 * must have or be able to pull; `HODEI_K8S_TEST_SERVER_HOST` how pods reach this machine (found out by a pod when it is not given).
 */
export async function openRealCluster(): Promise<Cluster> {
  const config = new KubeConfig();
  config.loadFromDefault();
  const directory = mkdtempSync(join(tmpdir(), "hodei-kubeconfig-"));
  const kubeconfig = join(directory, "config");
  writeFileSync(kubeconfig, config.exportConfig(), { mode: 0o600 });
  const image = process.env["HODEI_K8S_TEST_IMAGE"] || "hodei-jobs-worker:latest";
  const given = process.env["HODEI_K8S_TEST_SERVER_HOST"];
  const serverHost = given || (await (found ??= findHost(config.makeApiClient(CoreV1Api), image)));
  const addresses = await lookup(serverHost, { all: true });
  return {
    kubeconfig,
    image,
    serverHost,
    serverCidrs: addresses.map(({ address, family }) => `${address}/${family === 6 ? 128 : 32}`),
    isReal: true,
    env: surroundings(),
    async [Symbol.asyncDispose]() {
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** What programs that sign in to a cloud's cluster look at, and proxies in front of it. */
function surroundings(): Record<string, string> {
  const kept = Object.entries(process.env).flatMap(([name, value]) =>
    value === undefined || /^(HODEI|NODE|VITEST|npm)_|^(TEST|DEV|PROD|MODE|SSR)$/.test(name)
      ? []
      : [[name, value] as const],
  );
  return Object.fromEntries(kept);
}

let found: Promise<string> | undefined;

/** Lets a pod try every address of this machine, and the gateway of its own node. */
async function findHost(core: CoreV1Api, image: string): Promise<string> {
  const listener = createServer((socket) => socket.end("hodei\n")).listen(0, "0.0.0.0");
  await once(listener, "listening");
  const address = listener.address();
  const port = typeof address === "object" ? (address?.port ?? 0) : 0;
  const hosts = Object.values(networkInterfaces()).flatMap((all) =>
    (all ?? []).filter(({ internal, family }) => !internal && family === "IPv4"),
  );
  const name = `hodei-e2e-probe-${randomBytes(3).toString("hex")}`;
  const namespace = name;
  await core.createNamespace({ body: { metadata: { name } } });
  try {
    const command = ["node", "-e", probe, String(port), ...hosts.map((host) => host.address)];
    const container = { name: "probe", image, command, ...restricted.container };
    const spec = { restartPolicy: "Never", containers: [container], ...restricted.pod };
    await vi.waitFor(
      () => core.createNamespacedPod({ namespace, body: { metadata: { name }, spec } }),
      { timeout: 60_000, interval: 500 },
    );
    const phase = await vi.waitFor(
      async () => {
        const { status } = await core.readNamespacedPod({ name, namespace });
        if (status?.phase === "Succeeded" || status?.phase === "Failed") return status.phase;
        const waiting = status?.containerStatuses?.[0]?.state?.waiting;
        throw new Error(`the probe with image ${image}: ${waiting?.message ?? waiting?.reason}`);
      },
      // Its node may have to pull the image.
      { timeout: 300_000, interval: 500 },
    );
    const answer = (await core.readNamespacedPodLog({ name, namespace })).trim();
    if (phase === "Succeeded") return answer;
    throw new Error(
      `no pod reaches this machine; give its address in HODEI_K8S_TEST_SERVER_HOST: ${answer}`,
    );
  } finally {
    listener.close();
    await core.deleteNamespace({ name });
  }
}

/** Also clusters that hold every namespace to the restricted level take it. */
const restricted = {
  pod: {
    automountServiceAccountToken: false,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: 1_000,
      seccompProfile: { type: "RuntimeDefault" },
    },
  },
  container: {
    imagePullPolicy: "IfNotPresent",
    resources: {
      requests: { cpu: "50m", memory: "64Mi" },
      limits: { cpu: "500m", memory: "256Mi" },
    },
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
  },
};

/** Runs in the pod: prints the first address that answers. */
const probe = `
const { connect } = require("node:net");
const { readFileSync } = require("node:fs");
const [port, ...hosts] = process.argv.slice(1);
const routes = readFileSync("/proc/net/route", "utf8").split("\\n").map((line) => line.split("\\t"));
const gateway = routes.find((route) => route[1] === "00000000")?.[2];
if (gateway) hosts.unshift(gateway.match(/../g).reverse().map((byte) => parseInt(byte, 16)).join("."));
const attempt = (host) => new Promise((resolve) => {
  const socket = connect({ host, port: Number(port), timeout: 2000 });
  const end = (reached) => { socket.destroy(); resolve(reached); };
  socket.on("data", (data) => end(String(data) === "hodei\\n")).on("error", () => end(false)).on("timeout", () => end(false));
});
(async () => {
  for (const host of hosts) if (await attempt(host)) return console.log(host);
  console.log("tried " + hosts.join(", "));
  process.exitCode = 1;
})();
`;
