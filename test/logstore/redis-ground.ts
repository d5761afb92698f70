import { Cluster, type Redis } from "ioredis";
import { onTestFinished } from "vitest";
import type { AttemptId } from "#job/id.ts";
import { openDirectoryObjects } from "#logstore/directory/objects.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { ObjectStore } from "#logstore/object-store.ts";
import { openRedisLogStore, type RedisLogStoreOptions } from "#logstore/redis/open.ts";
import { keysOf } from "../fake/s3.ts";
import { RedisCluster } from "../store/redis-cluster.ts";
import { RedisServer } from "../store/redis-server.ts";
import { newFolder, quotaBytesPerAttempt } from "./folder.ts";

let instances = 0;

/** Where logs are kept. */
export interface RedisPlace extends AsyncDisposable {
  readonly url: string;
  connect(): Redis | Cluster;
}

export const redisPlaces: readonly (readonly [string, () => Promise<RedisPlace>])[] = [
  ["one server", () => new RedisServer().start()],
  ["a cluster", () => new RedisCluster().start(3)],
];

/** An instance of its own, in a Redis and with a folder as its archive; any number of stores can be opened on it. */
export class Shared {
  readonly instance = `logs-${++instances}`;
  readonly folder = newFolder();
  readonly redis: Redis | Cluster;
  readonly #server: RedisPlace;

  constructor(server: RedisPlace) {
    this.#server = server;
    this.redis = server.connect();
    this.redis.on("error", () => undefined);
    onTestFinished(() => this.redis.disconnect());
  }

  async open(options: Partial<RedisLogStoreOptions> = {}): Promise<LogStore> {
    const store = await openRedisLogStore({
      url: this.#server.url,
      instance: this.instance,
      quotaBytesPerAttempt,
      sealDelayMs: 0,
      ...options,
    });
    onTestFinished(() => store[Symbol.asyncDispose]());
    return store;
  }

  async openArchived(options: Partial<RedisLogStoreOptions> = {}): Promise<LogStore> {
    return this.open({ objects: await this.objects(), ...options });
  }

  objects(): Promise<ObjectStore> {
    return openDirectoryObjects(this.folder);
  }

  async keys(): Promise<string[]> {
    return keysOf(await this.objects());
  }

  /** What Redis has of a log. */
  async keysInRedis(attempt: AttemptId): Promise<string[]> {
    const { redis } = this;
    const servers = redis instanceof Cluster ? redis.nodes("master") : [redis];
    const pattern = `hodei:log:${this.instance}:*${attempt}*`;
    const found = await Promise.all(servers.map((server) => server.keys(pattern)));
    return found.flat().toSorted();
  }

  /** Names of the segments in a log's index, and what is not finished in it. */
  async indexOf(attempt: AttemptId): Promise<{ segments: string[]; unfinished: string[] }> {
    const found = await this.redis.hgetall(`hodei:log:${this.instance}:{${attempt}}`);
    const entries = Object.entries(found);
    const segments = entries.filter(([field]) => field.startsWith("s"));
    return {
      segments: segments.map(([, value]) => value.split(" ").at(-1) ?? "").toSorted(),
      unfinished: entries.map(([field]) => field).filter((field) => /^[gi]/.test(field)),
    };
  }
}
