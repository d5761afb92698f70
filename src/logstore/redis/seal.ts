import { randomBytes } from "node:crypto";
import { every } from "#every.ts";
import type { AttemptId } from "#job/id.ts";
import type { RawFrame } from "#logstore/frames/block.ts";
import type { LogLink } from "./link.ts";
import { packFrames, type Segments } from "./segments.ts";
import { frameOf, nextCount, parseEntries, type StreamEntry } from "./stream.ts";
import {
  packSegment,
  segmentField,
  type SealedUpTo,
  type Segment,
  type WholeView,
} from "./view.ts";

/**
 * Sealing moves the oldest batches of a stream into a segment, in this order: who seals says so and as what, in the log's hash; reads the batches; stores the
 * segment; then one script puts it into the log's index and cuts the stream. Whoever dies before that last step leaves the stream as it was, and a name to delete;
 * whoever comes too late with it, because somebody else began meanwhile, is refused and deletes what it stored.
 */
export interface SealerOptions {
  readonly link: LogLink;
  readonly segments: Segments;
  /** Bytes that a log may keep: the first half of it, and the last. */
  readonly quotaBytesOf: (tenant: string) => Promise<number>;
  readonly segmentBytes: number;
  /** Somebody who has begun to seal is believed to be dead after so long without a word. */
  readonly claimMs: number;
  /** For tests that end the process between two steps. */
  readonly onStep?: ((step: SealStep) => Promise<void>) | undefined;
}

export type SealStep = "claimed" | "stored" | "committed" | "cleaned";

/** So many objects may wait to be deleted before another is begun. */
const mostGarbage = 16;

/** What becomes of the oldest batches of a stream. */
interface Group {
  readonly entries: readonly StreamEntry[];
  readonly fate: "head" | "tail" | "dropped";
}

export class Sealer {
  readonly #options: SealerOptions;

  constructor(options: SealerOptions) {
    this.#options = options;
  }

  /**
   * Seals until at most `keepBytes` of the log are in its stream. Undefined when the log is gone, or somebody else is sealing it. Error: `unavailable`;
   * nothing is lost and it may be tried again.
   */
  async seal(attempt: AttemptId, keepBytes: number): Promise<WholeView | undefined> {
    const { link } = this.#options;
    for (;;) {
      const view = await link.latestView(attempt);
      if (view === undefined) return undefined;
      const isEnough = liveBytes(view) <= keepBytes;
      if (isEnough || view.garbage.length >= mostGarbage) await this.#clean(attempt, view);
      if (isEnough) return view;
      if (!(await this.#step(attempt, { view, keepBytes }))) return undefined;
    }
  }

  /** False when somebody else is sealing the log. */
  async #step(
    attempt: AttemptId,
    { view: before, keepBytes }: { readonly view: WholeView; readonly keepBytes: number },
  ): Promise<boolean> {
    const { link, segments, claimMs, onStep } = this.#options;
    const name = segments.nameOf(randomBytes(6).toString("hex"));
    const { meta } = link.keysOf(attempt);
    const claim = await link.run("claim", [meta], [name, claimMs]);
    if (String(claim) !== "ok") return false;
    await using _ = this.#keep(meta, name);
    try {
      await onStep?.("claimed");
      // Nobody else seals from here on, so this is what there is.
      const view = (await link.latestView(attempt)) ?? before;
      return await this.#move(attempt, view, { name, keepBytes });
    } catch (error) {
      // If even that cannot be said, the claim ends by itself.
      await link.run("release", [meta], [name]).catch(() => undefined);
      throw error;
    }
  }

  /** Storing a segment may take long. */
  #keep(meta: string, name: string): AsyncDisposable {
    const { link, claimMs } = this.#options;
    return every({ intervalMs: claimMs / 4, onError: () => undefined }, async () => {
      await link.run("renew", [meta], [name]);
    });
  }

  /** False when somebody else has begun to seal meanwhile. */
  async #move(
    attempt: AttemptId,
    view: WholeView,
    { name, keepBytes }: { readonly name: string; readonly keepBytes: number },
  ): Promise<boolean> {
    const { link, segments, quotaBytesOf, onStep } = this.#options;
    const halfBytes = (await quotaBytesOf(view.tenant)) / 2;
    const group = await this.#gather(attempt, view, { halfBytes, keepBytes });
    const segment =
      group.fate === "dropped" ? undefined : await this.#store(attempt, group, { name, view });
    await onStep?.("stored");
    const sealed = sealedBehind(attempt, group, view);
    const dropped = droppedBy(view, { group, halfBytes });
    const number = Math.max(
      view.dropped,
      dropped.at(-1)?.last ?? 0,
      group.fate === "dropped" ? (group.entries.at(-1)?.number ?? 0) : 0,
    );
    const { meta, stream } = link.keysOf(attempt);
    const isDone = await link.run(
      "commit",
      [meta, stream],
      [
        name,
        `${sealed.number} ${sealed.stored}`,
        `${sealed.number + 1}-0`,
        number,
        segment === undefined ? "" : segmentField(segment),
        segment === undefined ? "" : packSegment(segment),
        ...dropped.flatMap((one) => [segmentField(one), one.name]),
      ],
    );
    if (Number(isDone) === 1) {
      await onStep?.("committed");
      return true;
    }
    await segments.delete(attempt, name);
    return false;
  }

  /** The oldest batches of the stream that have the same fate. */
  async #gather(
    attempt: AttemptId,
    view: WholeView,
    { halfBytes, keepBytes }: { readonly halfBytes: number; readonly keepBytes: number },
  ): Promise<Group> {
    const { link, segmentBytes } = this.#options;
    const { stream } = link.keysOf(attempt);
    const mostBytes = Math.min(segmentBytes, Math.max(leastSegmentBytes, halfBytes / 4));
    const hasTail = view.segments.some(({ isTail }) => isTail) || view.dropped > 0;
    const all = view.durable.mark.stored;
    const fateOf = (stored: number): Group["fate"] => {
      if (!hasTail && stored <= halfBytes) return "head";
      return all - stored >= halfBytes ? "dropped" : "tail";
    };
    const entries: StreamEntry[] = [];
    let fate: Group["fate"] | undefined;
    let bytes = 0;
    let from = view.sealed.number;
    let count = nextCount([]);
    for (;;) {
      const range = [`${from + 1}-0`, `${view.durable.number}-0`, "COUNT", count] as const;
      const more = parseEntries(await link.read("XRANGE", stream, ...range));
      for (const entry of more) {
        const own = fateOf(view.sealed.stored + bytes + entry.payload.length);
        fate ??= own;
        const isFull = fate !== "dropped" && bytes >= mostBytes;
        const isEnough = entries.length > 0 && all - view.sealed.stored - bytes <= keepBytes;
        if (own !== fate || isFull || isEnough) return { entries, fate };
        entries.push(entry);
        bytes += entry.payload.length;
      }
      const last = more.at(-1);
      if (last === undefined) return { entries, fate: fate ?? "dropped" };
      from = last.number;
      count = nextCount(more);
    }
  }

  async #store(
    attempt: AttemptId,
    { entries, fate }: Group,
    { name, view }: { readonly name: string; readonly view: WholeView },
  ): Promise<Segment | undefined> {
    const frames = entries.flatMap((entry): RawFrame[] => {
      const frame = frameOf(entry, attempt);
      // What is damaged is left out, and becomes a gap.
      if (frame === undefined) return [];
      return [{ frame, raw: Buffer.concat([entry.header, entry.payload]) }];
    });
    const newest = frames.at(-1);
    if (newest === undefined) return undefined;
    const isTail = fate === "tail";
    const bytes = await packFrames(frames, isTail);
    await this.#options.segments.write(attempt, name, bytes);
    return {
      first: view.sealed.number + 1,
      last: newest.frame.number,
      isTail,
      payloadBytes: frames.reduce((sum, { frame }) => sum + frame.payload.length, 0),
      bytes: bytes.length,
      lastRecords: newest.frame.mark.last,
      name,
    };
  }

  /** Deletes what is garbage. */
  async #clean(attempt: AttemptId, view: WholeView | undefined): Promise<void> {
    const { link, segments, onStep } = this.#options;
    for (const name of view?.garbage ?? []) {
      await segments.delete(attempt, name);
      await onStep?.("cleaned");
      await link.write("HDEL", link.keysOf(attempt).meta, `g${name}`);
    }
  }
}

const leastSegmentBytes = 16 * 1024;

/** Bytes of a log in its stream. */
export function liveBytes({ durable, sealed }: Pick<WholeView, "durable" | "sealed">): number {
  return durable.mark.stored - sealed.stored;
}

function sealedBehind(attempt: AttemptId, { entries }: Group, view: WholeView): SealedUpTo {
  const newest = entries.at(-1);
  // The stream has lost them; readers see a gap.
  if (newest === undefined) {
    return { number: view.durable.number, stored: view.durable.mark.stored };
  }
  const bytes = entries.reduce((sum, { payload }) => sum + payload.length, 0);
  const stored = frameOf(newest, attempt)?.mark.stored ?? view.sealed.stored + bytes;
  return { number: newest.number, stored };
}

/** The oldest segments of the tail that the quota has no room for, now that so much comes behind them. */
function droppedBy(
  view: WholeView,
  { group, halfBytes }: { readonly group: Group; readonly halfBytes: number },
): Segment[] {
  const tail = view.segments.filter(({ isTail }) => isTail);
  const isHead = group.fate === "head";
  let bytes = tail.reduce((sum, { payloadBytes }) => sum + payloadBytes, 0);
  bytes += isHead ? 0 : liveBytes(view);
  const dropped: Segment[] = [];
  for (const segment of tail) {
    // What comes behind a group that is dropped is enough by itself.
    if (group.fate !== "dropped" && bytes - segment.payloadBytes < halfBytes) break;
    bytes -= segment.payloadBytes;
    dropped.push(segment);
  }
  return dropped;
}
