import type { RedisOptions } from "ioredis";
import { readFileSync } from "node:fs";
import { HodeiError } from "#error.ts";
import type { Node } from "./cluster.ts";

const plainPort = 6_379;
const sentinelPort = 26_379;
const connectMs = 2_000;
const keepAliveMs = 5_000;
/** Longest pause before the next try to connect. */
const longestPauseMs = 1_000;

export interface Address {
  /** `redis://`, `rediss://` (TLS), `redis+sentinel://host,host/name`, `rediss+sentinel://…`, `redis+cluster://host,host`, `rediss+cluster://…` or `unix:///path`. */
  readonly url: string;
  /** PEM file of the authority that signed the server's certificate; empty or undefined: those of the system. */
  readonly caFile?: string;
  readonly commandTimeoutMs: number;
}

export type OneOptions = Omit<RedisOptions, "replyMapping">;

/**
 * How a connection is made so that nothing hangs: commands are not kept while there is none, and none is sent twice. Error: `invalid_argument`
 * when the URL is none of one Redis.
 */
export function connectionOptions(address: Address): OneOptions {
  return { ...whereOf(address), ...limitsOf(address) };
}

/** The same for the nodes of a cluster, and which to ask first; undefined when the URL is of none. */
export function clusterOptions(
  address: Address,
): { readonly nodes: readonly Node[]; readonly options: OneOptions } | undefined {
  const found = /^redis(s?)\+cluster:\/\/(.*)$/s.exec(address.url);
  if (found === null) return undefined;
  const [, isSecure, rest = ""] = found;
  const { account, nodes } = partsOfCluster(rest);
  const tls = isSecure === "" ? {} : { tls: secureOf(address) };
  return { nodes, options: { ...account, ...tls, ...limitsOf(address) } };
}

function limitsOf({ commandTimeoutMs }: Address) {
  return {
    protocol: 2,
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandTimeoutMs,
    connectTimeout: connectMs,
    socketTimeout: 3 * commandTimeoutMs,
    keepAlive: keepAliveMs,
    noDelay: true,
    retryStrategy: pauseOf,
    // After a failover the old primary refuses; the next connection goes to the new one.
    reconnectOnError: (error: Error) => (/^(READONLY|MOVED)/.test(error.message) ? 1 : false),
  } as const;
}

export function pauseOf(tries: number): number {
  const longest = Math.min(longestPauseMs, 25 * 2 ** Math.min(tries, 10));
  return Math.round(longest * (0.5 + Math.random() / 2));
}

function secureOf({ caFile }: Address) {
  return caFile ? { ca: readFileSync(caFile) } : {};
}

function whereOf(address: Address): RedisOptions {
  const { url } = address;
  const secure = secureOf(address);
  const [, scheme, rest = ""] = /^([a-z+]+):\/\/(.*)$/s.exec(url) ?? [];
  switch (scheme) {
    case "unix":
      return { path: rest };
    case "redis":
      return plainOf(url);
    case "rediss":
      return { ...plainOf(url), tls: secure };
    case "redis+sentinel":
      return sentinelOf(rest);
    case "rediss+sentinel":
      return {
        ...sentinelOf(rest),
        tls: secure,
        sentinelTLS: secure,
        enableTLSForSentinelMode: true,
      };
    default:
      throw refused();
  }
}

/** `user:password@host:port,host:port`. */
function partsOfCluster(rest: string) {
  const found = /^(?:([^:@/]*):([^@/]*)@)?([^@/]+)\/?$/.exec(rest);
  if (found === null) throw refused();
  const [, username = "", password = "", hosts = ""] = found;
  return { account: accountOf(username, password), nodes: nodesOf(hosts, plainPort) };
}

function nodesOf(hosts: string, standardPort: number): Node[] {
  return hosts.split(",").map((host) => {
    const [, address = "", port] = /^(.*?)(?::(\d+))?$/.exec(host) ?? [];
    return { host: address.replace(/^\[(.*)\]$/, "$1"), port: Number(port ?? standardPort) };
  });
}

function plainOf(text: string): RedisOptions {
  const url = URL.parse(text);
  if (url === null || url.hostname === "") throw refused();
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const port = url.port === "" ? plainPort : Number(url.port);
  return {
    host,
    port,
    ...accountOf(url.username, url.password),
    db: databaseOf(url.pathname.slice(1)),
  };
}

/** `user:password@host:port,host:port/name/db`; user and password are those of the servers. */
function sentinelOf(rest: string): RedisOptions {
  const found = /^(?:([^:@/]*):([^@/]*)@)?([^@/]+)\/([^/]+)(?:\/(\d+))?$/.exec(rest);
  if (found === null) throw refused();
  const [, username = "", password = "", hosts = "", name = "", db = ""] = found;
  return {
    sentinels: nodesOf(hosts, sentinelPort),
    name,
    ...accountOf(username, password),
    db: databaseOf(db),
    sentinelCommandTimeout: connectMs,
    sentinelRetryStrategy: pauseOf,
  };
}

function accountOf(username: string, password: string): RedisOptions {
  return {
    ...(username === "" ? {} : { username: decodeURIComponent(username) }),
    ...(password === "" ? {} : { password: decodeURIComponent(password) }),
  };
}

function databaseOf(text: string): number {
  if (!/^\d{0,4}$/.test(text)) throw refused();
  return Number(text);
}

/** Without the URL, which may hold a password. */
function refused(): HodeiError {
  const problem = "the URL of Redis is none: redis://host:6379 is one";
  return new HodeiError("invalid_argument", problem);
}
