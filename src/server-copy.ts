import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { StoreCopy } from "#cli/host.ts";
import { HodeiError } from "#error.ts";
import type { AttemptId } from "#job/id.ts";
import { copyLogs } from "#logstore/copy.ts";
import { openFileLogStore } from "#logstore/files/open.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { StoreDump } from "#store/dump.ts";
import { openDumpFile } from "#store/dump-file.ts";
import { openSqliteDump } from "#store/sqlite/dump.ts";

/** What a store keeps, and its logs where they can be copied. */
interface Place extends AsyncDisposable {
  readonly store: StoreDump;
  readonly logs: LogStore | undefined;
}

/** Copies all that one store keeps into another, which is empty, logs first. Error: a `HodeiError` that says why not. */
export async function copyStores({
  from,
  to,
}: StoreCopy): Promise<Readonly<Record<string, number>>> {
  await using source = await openPlace(from, { mayBeNew: false });
  await using target = await openPlace(to, { mayBeNew: true });
  await refuseFilled(target.store);
  // When the jobs are there, everything is.
  const logs =
    source.logs === undefined || target.logs === undefined
      ? undefined
      : await copyLogs(source.logs, target.logs, attemptsOf(source.store));
  return { ...(await target.store.load(source.store.dump())), ...logs };
}

async function refuseFilled(store: StoreDump): Promise<void> {
  for await (const { kind } of store.dump()) {
    if (kind === "head") continue;
    if (kind === "foot") return;
    throw new HodeiError("failed_precondition", "the store to copy to is not empty");
  }
}

async function* attemptsOf(store: StoreDump): AsyncGenerator<AttemptId> {
  for await (const record of store.dump()) {
    if (record.kind === "job") for (const { id } of record.job.attempts) yield id;
  }
}

async function openPlace(
  place: string,
  { mayBeNew }: { readonly mayBeNew: boolean },
): Promise<Place> {
  if (/^(rediss?(\+(sentinel|cluster))?|unix):\/\//.test(place)) return openRedis(place);
  const directory = resolve(place);
  if (place.endsWith(".ndjson")) return openFile(directory, { mayBeNew });
  const path = join(directory, "hodei.db");
  if (mayBeNew) await mkdir(directory, { recursive: true, mode: 0o700 });
  else if (!existsSync(path)) {
    throw new HodeiError("invalid_argument", `there is no store in ${directory}`);
  }
  await using parts = new AsyncDisposableStack();
  const store = parts.use(openSqliteDump(path));
  const logs = parts.use(
    // Every log was within its quota when it was written.
    await openFileLogStore({ directory: join(directory, "logs"), quotaBytesPerAttempt: 2 ** 50 }),
  );
  return placeOf({ store, logs }, parts.move());
}

/** A dump without logs. */
function openFile(path: string, { mayBeNew }: { readonly mayBeNew: boolean }): Place {
  if (!mayBeNew && !existsSync(path)) {
    throw new HodeiError("invalid_argument", `there is no file ${path}`);
  }
  return placeOf({ store: openDumpFile(path), logs: undefined }, new AsyncDisposableStack());
}

/** The instance stands behind `#`. Redis' client is loaded for those who have one. */
async function openRedis(place: string): Promise<Place> {
  const [url = "", instance] = place.split("#");
  if (instance === undefined || instance === "") {
    // Without the URL, which may hold a password.
    const text = "a store in Redis is given with its instance, as redis://host:6379#instance";
    throw new HodeiError("invalid_argument", text);
  }
  const { openRedisDump } = await import("#store/redis/dump.ts");
  await using parts = new AsyncDisposableStack();
  const store = parts.use(await openRedisDump({ url, instance }));
  const { openRedisLogStore } = await import("#logstore/redis/open.ts");
  const logs = parts.use(
    await openRedisLogStore({
      url,
      instance,
      quotaBytesPerAttempt: 2 ** 50,
      liveBytes: 2 ** 50,
      // What has ended stays as it is for the server, which knows the archive.
      sealDelayMs: 2 ** 40,
      allowsUnsafe: true,
    }),
  );
  return placeOf({ store, logs }, parts.move());
}

function placeOf(place: Omit<Place, keyof AsyncDisposable>, parts: AsyncDisposableStack): Place {
  return { ...place, [Symbol.asyncDispose]: () => parts.disposeAsync() };
}
