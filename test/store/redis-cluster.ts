import { Cluster, Redis } from "ioredis";
import { join } from "node:path";
import { freePort, RedisServer } from "./redis-server.ts";

export interface Member {
  readonly server: RedisServer;
  readonly port: number;
  readonly client: Redis;
}

const slots = 16_384;

/** A cluster of a test's own. */
export class RedisCluster implements AsyncDisposable {
  readonly members: Member[] = [];
  readonly #buses = new Map<number, number>();
  readonly #settings: readonly string[];
  readonly #listens: string;

  /** `listens`: the setting that says where clients come in. */
  constructor(settings: readonly string[] = [], listens = "--port") {
    this.#settings = settings;
    this.#listens = listens;
  }

  get hosts(): string {
    return this.members.map(({ port }) => `127.0.0.1:${port}`).join(",");
  }

  get url(): string {
    return `redis+cluster://${this.hosts}`;
  }

  connect(): Cluster {
    return new Cluster(this.members.map(({ port }) => ({ host: "127.0.0.1", port })));
  }

  /** Shares the slots among so many primaries. */
  async start(primaries: number): Promise<this> {
    for (let at = 0; at < primaries; at++) await this.#add();
    const [first] = this.members;
    for (const [at, { client }] of this.members.entries()) {
      const from = Math.floor((slots * at) / primaries);
      const to = Math.floor((slots * (at + 1)) / primaries) - 1;
      await client.cluster("ADDSLOTSRANGE", from, to);
      await client.call("CLUSTER", "SET-CONFIG-EPOCH", String(at + 1));
      if (at > 0 && first !== undefined) await this.#meet(first, client);
    }
    await this.untilAll((state) => state.includes("cluster_state:ok"), primaries);
    return this;
  }

  /** Adds a replica of that member. */
  async addReplica(of: Member): Promise<Member> {
    const member = await this.#add();
    await this.#meet(of, member.client);
    const id = String(await of.client.cluster("MYID"));
    await until(() => member.client.cluster("REPLICATE", id).then(Boolean, () => false));
    await until(async () => (await of.client.info("replication")).includes("state=online"));
    await this.untilAll((state) => state.includes("cluster_state:ok"), this.members.length);
    return member;
  }

  async untilAll(isGood: (state: string) => boolean, nodes: number): Promise<void> {
    for (const { client } of this.members) {
      await until(async () => {
        const state = String(await client.cluster("INFO"));
        return isGood(state) && state.includes(`cluster_known_nodes:${nodes}\r`);
      });
    }
  }

  /** The member that has the slot of a key. */
  async ownerOf(key: string): Promise<Member> {
    for (const member of this.members) {
      const said = await member.client.exists(key).then(
        () => true,
        () => false,
      );
      if (said) return member;
    }
    throw new Error(`nobody has the slot of ${key}`);
  }

  /** Gives the slot of a key to another server, with all that is in it. */
  async moveSlot(key: string): Promise<void> {
    const from = await this.ownerOf(key);
    const to = this.members.find((member) => member !== from);
    if (to === undefined) throw new Error("there is one server only");
    const slot = Number(await from.client.cluster("KEYSLOT", key));
    const fromId = String(await from.client.cluster("MYID"));
    const toId = String(await to.client.cluster("MYID"));
    await to.client.call("CLUSTER", "SETSLOT", String(slot), "IMPORTING", fromId);
    await from.client.call("CLUSTER", "SETSLOT", String(slot), "MIGRATING", toId);
    const place = ["127.0.0.1", String(to.port), "", "0", "5000", "KEYS"];
    for (;;) {
      const keys = await from.client.cluster("GETKEYSINSLOT", slot, 100);
      if (keys.length === 0) break;
      await from.client.call("MIGRATE", ...place, ...keys);
    }
    for (const { client } of [to, from]) {
      await client.call("CLUSTER", "SETSLOT", String(slot), "NODE", toId);
    }
  }

  async #add(): Promise<Member> {
    const port = await freePort();
    const bus = await freePort();
    const flags = [this.#listens, String(port), "--cluster-enabled", "yes"];
    const quick = ["--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"];
    const lax = ["--bind", "127.0.0.1", "--cluster-port", String(bus)];
    const server = await new RedisServer(...flags, ...quick, ...lax, ...this.#settings).start();
    const client = new Redis(server.path, { maxRetriesPerRequest: 0 });
    client.on("error", () => undefined);
    const member = { server, port, client };
    this.members.push(member);
    this.#buses.set(port, bus);
    return member;
  }

  async #meet(first: Member, client: Redis): Promise<void> {
    const bus = String(this.#buses.get(first.port));
    await client.call("CLUSTER", "MEET", "127.0.0.1", String(first.port), bus);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { client, server } of this.members) {
      client.disconnect();
      await server[Symbol.asyncDispose]();
    }
  }
}

export interface SecureCluster {
  readonly cluster: RedisCluster;
  /** With the password of a user who may do what a store does. */
  readonly url: string;
  readonly caFile: string;
}

/** Three primaries that speak TLS and know one user; the caller disposes of the cluster. */
export async function startSecureCluster(): Promise<SecureCluster> {
  const fixture = (name: string): string => join(import.meta.dirname, "../rpc/tls", name);
  const caFile = fixture("ca.pem");
  const files = ["--tls-cert-file", fixture("server.pem"), "--tls-key-file", fixture("server.key")];
  const trust = ["--tls-ca-cert-file", caFile, "--tls-auth-clients", "no", "--tls-cluster", "yes"];
  const cluster = new RedisCluster([...files, ...trust], "--tls-port");
  await cluster.start(3);
  for (const { client } of cluster.members) {
    await client.call("ACL", "SETUSER", "ops", "on", ">p@ss", "~hodei:*", "&hodei:*", "+@all");
  }
  return { cluster, url: `rediss+cluster://ops:p%40ss@${cluster.hosts}`, caFile };
}

async function until(isDone: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await isDone()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the cluster does not come up");
}
