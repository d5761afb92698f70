import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, vi } from "vitest";
import { HodeiClient } from "#client/client.ts";
import { RedisServer } from "../store/redis-server.ts";
import { freePort, ServerProcess } from "./server-process.ts";

/** Several servers on one Redis, and on one machine, so that their worker processes are in one folder. */
export interface Fleet {
  readonly redis: RedisServer;
  readonly servers: readonly ServerProcess[];
  readonly directory: string;
  /** Of one server alone. */
  client(at: number): HodeiClient;
  /** Begins with one server, and goes on with the others when that is gone. */
  clientOfAll(at: number): HodeiClient;
  /** Which server leads now, by its place; undefined while none says so. */
  findLeader(): Promise<number | undefined>;
  /** The place of the server that leads, once one of `among` does. */
  waitForLeader(among: readonly number[]): Promise<number>;
}

type Env = Readonly<Record<string, string>>;

/** What stands between a fleet and its network, known before its servers start. */
export interface FleetGround {
  readonly redis: RedisServer;
  /** Where its servers listen, in their order. */
  readonly ports: readonly number[];
}

export interface FleetOptions {
  /** For the node process of each server, by its place. */
  readonly nodeArguments?: (at: number) => readonly string[];
}

/** Starts a fleet that ends with the test. */
export async function startFleet(
  size: number,
  env: Env | ((ground: FleetGround) => Promise<Env>) = {},
  { nodeArguments }: FleetOptions = {},
): Promise<Fleet> {
  const redis = await new RedisServer().start();
  onTestFinished(() => redis[Symbol.asyncDispose]());
  const directory = mkdtempSync(join(tmpdir(), "hodei-fleet-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const ports = await Promise.all(Array.from({ length: size }, () => freePort()));
  const shared = {
    HODEI_STORE: "redis",
    HODEI_REDIS_URL: redis.url,
    HODEI_REPLICA_LEASE_MS: "2000",
    HODEI_SERVER_ADDRESS: ports.map((port) => `127.0.0.1:${port}`).join(","),
    HODEI_PROCESS_DIRECTORY: join(directory, "processes"),
    HODEI_AGENT_RECONNECT_MAX_MS: "500",
    ...(typeof env === "function" ? await env({ redis, ports }) : env),
  };
  const servers = await Promise.all(
    ports.map(async (port, at) => {
      const server = await ServerProcess.startAt(port, shared, nodeArguments?.(at));
      // Also where another one does not start.
      onTestFinished(() => server[Symbol.asyncDispose]());
      return server;
    }),
  );
  const findLeader = async (): Promise<number | undefined> => {
    const leads = await Promise.all(servers.map(isLeading));
    const at = leads.indexOf(true);
    return at < 0 ? undefined : at;
  };
  const clientOf = (some: readonly number[]): HodeiClient => {
    const client = new HodeiClient({ address: some.map((port) => `127.0.0.1:${port}`).join(",") });
    onTestFinished(() => client.close());
    return client;
  };
  return {
    redis,
    servers,
    directory,
    client: (at) => clientOf(ports.slice(at, at + 1)),
    clientOfAll: (at) => clientOf([...ports.slice(at), ...ports.slice(0, at)]),
    findLeader,
    async waitForLeader(among) {
      let leader: number | undefined;
      await vi.waitUntil(
        async () => {
          leader = await findLeader();
          return leader !== undefined && among.includes(leader);
        },
        { timeout: 30_000, interval: 100 },
      );
      return leader ?? -1;
    },
  };
}

/** One that does not answer does not. */
async function isLeading(server: ServerProcess): Promise<boolean> {
  try {
    const answer = await fetch(`http://${server.httpAddress}/metrics`, {
      signal: AbortSignal.timeout(1_000),
    });
    return /^hodei_replica_leading 1$/m.test(await answer.text());
  } catch {
    return false;
  }
}
