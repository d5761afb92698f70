import { KubeConfig, VersionApi } from "@kubernetes/client-node";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";

/** Every server that some tests need, and how to tell that it is there. */
const probes: Readonly<Record<string, () => Promise<unknown>>> = {
  redis: probeRedis,
  docker: probeDocker,
  kubernetes: probeKubernetes,
};

/** The servers named in HODEI_TEST (`redis,docker`); HODEI_K8S_TEST=1 names `kubernetes` too. */
export function namedServers(env: NodeJS.ProcessEnv): ReadonlySet<string> {
  const names = (env["HODEI_TEST"] ?? "").split(",").map((name) => name.trim());
  if (env["HODEI_K8S_TEST"] === "1") names.push("kubernetes");
  const named = new Set(names.filter((name) => name !== ""));
  const unknown = [...named].filter((name) => !(name in probes));
  if (unknown.length > 0) {
    throw new Error(`HODEI_TEST names ${unknown.join(", ")}; known: ${allServers().join(", ")}`);
  }
  return named;
}

/** Fails when a named server cannot be reached, and says which ones were not named. */
export async function setup(): Promise<void> {
  if (process.env["HODEI_TEST_PROBED"] === "1") return; // Each vitest project asks again.
  process.env["HODEI_TEST_PROBED"] = "1";
  const named = namedServers(process.env);
  for (const name of named) {
    await probes[name]?.().catch((cause: unknown) => {
      throw new Error(`HODEI_TEST names ${name}, which cannot be reached`, { cause });
    });
  }
  const rest = allServers().filter((name) => !named.has(name));
  if (rest.length > 0) console.log(`not run: ${rest.join(", ")} (name them in HODEI_TEST)`);
}

export function allServers(): string[] {
  return Object.keys(probes);
}

/** Tests start servers of their own; a program is all that they need. */
/** The tests start their own. */
async function probeRedis(): Promise<void> {
  await promisify(execFile)("redis-server", ["--version"]);
}

/** Where none answers and none was named, one is started, and stays. */
async function probeDocker(): Promise<void> {
  const script = join(import.meta.dirname, "../scripts/docker-base.sh");
  if (process.env["DOCKER_HOST"] === undefined) await promisify(execFile)(script);
  await pingDocker();
}

async function pingDocker(): Promise<void> {
  const host = process.env["DOCKER_HOST"] ?? "unix:///var/run/docker.sock";
  const target = host.startsWith("unix://")
    ? { socketPath: host.slice("unix://".length), path: "/_ping" }
    : { ...hostAndPort(host), path: "/_ping" };
  const call = request({ ...target, timeout: 3_000 });
  call.once("timeout", () => call.destroy(new Error("no answer")));
  call.end();
  await once(call, "response");
  call.destroy();
}

function hostAndPort(url: string): { host: string; port: string } {
  const { hostname, port } = new URL(url);
  return { host: hostname, port };
}

/** With the kubeconfig that kubectl would use. */
async function probeKubernetes(): Promise<void> {
  const config = new KubeConfig();
  config.loadFromDefault();
  const { gitVersion } = await config.makeApiClient(VersionApi).getCode();
  if (!gitVersion) throw new Error("this is not a Kubernetes API server");
}
