import type { Redis } from "ioredis";
import { HodeiError } from "#error.ts";

/** Grows when what is stored changes its form. */
export const schemaVersion = 1;
const leastMajor = 7;

/** What the server's own settings promise for what was acknowledged. */
export interface Promised {
  /** `always`, `everysec` or `no`; undefined when the server does not say. */
  readonly appendFsync: string | undefined;
  readonly sentence: string;
}

export interface Wish {
  readonly isReplicated: boolean;
  readonly allowsUnsafe: boolean;
}

/** Error: `failed_precondition` when the server may lose or evict what it has acknowledged, and nobody allowed that. */
export async function checkServer(redis: Redis, wish: Wish): Promise<Promised> {
  const info = parseInfo(await redis.info());
  const version = info.get("redis_version") ?? "";
  if (Number.parseInt(version, 10) < leastMajor) {
    throw refusal(`Redis ${version} is too old`, `use Redis ${leastMajor} or newer, or Valkey`);
  }
  const problems: string[] = [];
  if (info.get("aof_enabled") !== "1") problems.push("its append-only file is off");
  const policy = info.get("maxmemory_policy") ?? "noeviction";
  if (policy !== "noeviction") problems.push(`its maxmemory-policy is ${policy}`);
  const others = [...info].filter(([name]) => /^slave\d+$/.test(name));
  const replicas = others.filter(([, text]) => text.includes("state=online")).length;
  if (problems.length > 0 && !wish.allowsUnsafe) {
    throw refusal(
      `Redis would lose jobs: ${problems.join(", ")}`,
      "set `appendonly yes`, `appendfsync always` and `maxmemory-policy noeviction`, or allow it",
    );
  }
  const appendFsync = await readFsync(redis);
  if (problems.length > 0) {
    const sentence = `what is acknowledged may be lost: ${problems.join(", ")}`;
    return { appendFsync, sentence };
  }
  if (wish.isReplicated && replicas === 0) {
    return { appendFsync, sentence: "nothing is acknowledged before a replica is there" };
  }
  return { appendFsync, sentence: describe(appendFsync, wish.isReplicated) };
}

/** Marks an empty instance with the version of what is stored. Error: `failed_precondition` when a newer program wrote it. */
export async function checkSchema(redis: Redis, prefix: string): Promise<void> {
  await redis.setnx(`${prefix}schema`, schemaVersion);
  const found = await redis.get(`${prefix}schema`);
  if (found === String(schemaVersion)) return;
  throw refusal(
    `this instance in Redis has version ${found}, this program knows ${schemaVersion}`,
    "use the program that wrote it, or another instance",
  );
}

function describe(appendFsync: string | undefined, isReplicated: boolean): string {
  const also = isReplicated ? ", and a replica has it too" : "";
  switch (appendFsync) {
    case "always":
      return `what is acknowledged is on the server's disk${also}`;
    case "everysec":
      return `what is acknowledged survives the death of the server's process; a power cut may lose the last 1 to 2 seconds${also}`;
    case "no":
      return `what is acknowledged survives the death of the server's process; a power cut may lose the last half minute${also}`;
    default:
      return `the server does not say when it writes to disk${also}`;
  }
}

/** Managed servers may refuse to tell. */
async function readFsync(redis: Redis): Promise<string | undefined> {
  try {
    const found: unknown = await redis.config("GET", "appendfsync");
    const value: unknown = Array.isArray(found) ? found[1] : undefined;
    return typeof value === "string" ? value : undefined;
  } catch (error) {
    if (error instanceof Error && error.name === "ReplyError") return undefined;
    throw error;
  }
}

function parseInfo(text: string): ReadonlyMap<string, string> {
  const lines = text.split(/\r?\n/).filter((line) => line.includes(":"));
  return new Map(
    lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1)]),
  );
}

function refusal(problem: string, hint: string): HodeiError {
  return new HodeiError("failed_precondition", problem, { hint });
}
