import type { LogStore } from "#logstore/logstore.ts";

/** One store through two of its processes: the first adds, the second reads, ends and expires. */
export function pairOf(adding: LogStore, reading: LogStore): LogStore {
  return {
    append: (attempt, batch) => adding.append(attempt, batch),
    end: (attempt, end) => reading.end(attempt, end),
    findLog: (attempt) => reading.findLog(attempt),
    read: (attempt, options) => reading.read(attempt, options),
    expire: (now) => reading.expire(now),
    // What the other one did is known to either a moment later.
    stats: () => reading.stats(),
    [Symbol.asyncDispose]: async () => {
      await reading[Symbol.asyncDispose]();
      await adding[Symbol.asyncDispose]();
    },
  };
}
