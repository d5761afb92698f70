import type { Redis } from "ioredis";
import { every } from "#every.ts";
import type { StoreChange } from "#store/store.ts";
import { unpack } from "./pack.ts";
import { toList, toText } from "./values.ts";

const pulseMs = 5_000;

const kinds: Readonly<Record<string, StoreChange["kind"]>> = {
  j: "job",
  c: "class",
  w: "worker",
  x: "cancel",
  p: "provider",
  l: "lead",
};

/** Listens on a connection of its own, which comes back by itself; what happens meanwhile is missed, and that is told. */
export async function followNews(
  redis: Redis,
  channel: string,
  listener: (change: StoreChange) => void,
): Promise<AsyncDisposable> {
  const own = redis.duplicate({
    enableOfflineQueue: true,
    maxRetriesPerRequest: null,
    autoResubscribe: false,
    lazyConnect: true,
  });
  own.on("error", () => undefined); // It tries again.
  own.on("messageBuffer", (_channel: Buffer, message: Buffer) => {
    for (const item of toList(unpack(message)[0])) {
      const text = toText(item);
      const kind = kinds[text.charAt(0)];
      if (kind !== undefined) listener({ kind, id: text.slice(1) });
    }
  });
  try {
    await own.connect();
    await own.subscribe(channel);
    own.on("ready", () => void listenAgain(own, channel, listener));
  } catch (error) {
    own.disconnect();
    throw error;
  }
  // Finds out when the other side is gone without a word.
  const pulse = every({ intervalMs: pulseMs, onError: () => undefined }, async () => {
    if (own.status === "ready") await own.ping();
  });
  return {
    [Symbol.asyncDispose]: async () => {
      own.disconnect();
      await pulse[Symbol.asyncDispose]();
    },
  };
}

async function listenAgain(
  redis: Redis,
  channel: string,
  listener: (change: StoreChange) => void,
): Promise<void> {
  try {
    await redis.subscribe(channel);
  } catch {
    redis.disconnect(true); // The next connection tries again.
    return;
  }
  listener({ kind: "missed", id: "" });
}
