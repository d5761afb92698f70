import { execFile } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { connect } from "node:net";
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

function allServers(): string[] {
  return Object.keys(probes);
}

async function probeRedis(): Promise<void> {
  const { hostname, port } = new URL(process.env["HODEI_REDIS_URL"] ?? "redis://127.0.0.1:6379");
  const socket = connect({ host: hostname, port: Number(port || 6379), timeout: 3_000 });
  socket.once("timeout", () => socket.destroy(new Error("no answer")));
  try {
    await once(socket, "connect");
    socket.write("PING\r\n");
    const [answer] = (await once(socket, "data")) as [Buffer];
    if (!/^[+-]/.test(answer.toString())) throw new Error("this is not a Redis server");
  } finally {
    socket.destroy();
  }
}

async function probeDocker(): Promise<void> {
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

async function probeKubernetes(): Promise<void> {
  await promisify(execFile)("kubectl", ["--request-timeout=5s", "get", "--raw", "/readyz"]);
}
