import { readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { isAttemptId, type AttemptId } from "#job/id.ts";
import type { LogEnd } from "#logstore/logstore.ts";
import type { Archive } from "./archive.ts";
import { readAt, syncFolder, type WarningLog } from "./disk.ts";
import { findFrame, headerBytes, readFrame, type Frame } from "#logstore/frames/frame.ts";
import { FileLog } from "./log.ts";
import { loadPart } from "./part.ts";
import type { Quota } from "./quota.ts";
import { openSegment, segmentNumber, type Segment } from "./segment.ts";

export interface RecoverOptions {
  readonly journalFolder: string;
  readonly partFolder: string;
  readonly archive: Archive;
  readonly quota: Quota;
  readonly log: WarningLog;
}

export interface Recovered {
  readonly logs: Map<AttemptId, FileLog>;
  readonly segments: Segment[];
  /** Something could not be read, so batches of any log may be missing. */
  readonly isDamaged: boolean;
}

/**
 * Finds again what an earlier process made durable. An end of the journal that is not whole was never acknowledged and is cut. Damage before
 * the end is told, costs the batches that it hit, and lets their logs go on behind a gap.
 */
export async function recover(options: RecoverOptions): Promise<Recovered> {
  const replay = new Replay(options);
  await replay.loadParts();
  const names = (await readdir(options.journalFolder)).toSorted();
  const numbers = names.flatMap((name) => segmentNumber(name) ?? []);
  for (const [index, number] of numbers.entries()) {
    const segment = await openSegment(options.journalFolder, number);
    await replay.replaySegment(segment, { isNewest: index === numbers.length - 1 });
  }
  return replay.finish();
}

class Replay {
  readonly #options: RecoverOptions;
  readonly #logs = new Map<AttemptId, FileLog>();
  readonly #archived = new Map<AttemptId, boolean>();
  readonly #segments: Segment[] = [];
  #isDamaged = false;

  constructor(options: RecoverOptions) {
    this.#options = options;
  }

  async loadParts(): Promise<void> {
    const { partFolder } = this.#options;
    for (const name of (await readdir(partFolder)).toSorted()) {
      const attempt = name.split(".")[0] ?? "";
      const path = join(partFolder, name);
      if (!isAttemptId(attempt)) continue;
      const part = await loadPart(path);
      if ((await this.#isArchived(attempt)) || part.blocks.length === 0) await unlink(path);
      else this.#logOf(attempt).adopt(part);
    }
    for (const log of this.#logs.values()) if (log.dropped > 0) log.dropAgain(log.dropped);
  }

  async replaySegment(segment: Segment, { isNewest }: { isNewest: boolean }): Promise<void> {
    this.#segments.push(segment);
    const bytes = await readAt(segment.file, 0, segment.bytes);
    let at = 0;
    while (at < bytes.length) {
      const found = readFrame(bytes, at);
      if (found.is === "unreadable") {
        const next = findFrame(bytes, at + 1);
        this.#isDamaged = true;
        if (next === undefined) {
          this.#warnOfCut(segment, at, isNewest);
          break;
        }
        this.#options.log.warn({ path: segment.path, at }, "log journal is damaged");
        at = next;
        continue;
      }
      if (!(await this.#isArchived(found.frame.attempt))) {
        this.#take(found.frame, { segment, at, isGood: found.is === "good" });
      }
      at = found.end;
    }
    if (at < segment.bytes && isNewest) {
      await segment.file.truncate(at);
      segment.bytes = at;
    }
    // What the earlier process wrote but did not sync would be taken for durable from now on.
    if (isNewest) await segment.file.datasync();
  }

  async finish(): Promise<Recovered> {
    await syncFolder(this.#options.journalFolder);
    for (const log of this.#logs.values()) {
      log.accepted = log.durable;
      log.mayJump ||= this.#isDamaged;
    }
    return { logs: this.#logs, segments: this.#segments, isDamaged: this.#isDamaged };
  }

  #take(frame: Frame, place: { segment: Segment; at: number; isGood: boolean }): void {
    const { segment, at, isGood } = place;
    const log = this.#logOf(frame.attempt);
    if (!isGood) {
      this.#options.log.warn({ attempt: frame.attempt, at }, "log journal is damaged");
      log.mayJump = true;
    }
    if (frame.kind === "end") {
      if (log.end !== undefined) return;
      log.end = isGood ? parseEnd(frame) : (frame.note ?? { expiresAt: Number.MAX_SAFE_INTEGER });
      // Says what the log came to, also where its last batches are damaged.
      if (frame.number > log.durable.number)
        log.durable = { number: frame.number, mark: frame.mark };
      log.endSegment = segment;
      segment.live++;
      return;
    }
    if (!isGood || frame.number <= log.durable.number) return;
    segment.live++;
    log.tenant ||= frame.tenant ?? 0;
    if (frame.dropped > log.dropped) log.dropAgain(frame.dropped);
    const { number, mark, payload } = frame;
    const payloadBytes = payload.length;
    log.journalBytes += headerBytes + payloadBytes;
    log.place({ number, segment, at, payloadBytes, last: mark.last, frame: undefined }, mark);
  }

  #warnOfCut(segment: Segment, at: number, isNewest: boolean): void {
    const facts = { path: segment.path, at, bytes: segment.bytes - at };
    const message = isNewest
      ? "cut an unfinished end off the log journal"
      : "the end of a log journal segment is damaged";
    this.#options.log.warn(facts, message);
  }

  #logOf(attempt: AttemptId): FileLog {
    const known = this.#logs.get(attempt);
    if (known !== undefined) return known;
    const log = new FileLog(attempt, this.#options.quota);
    this.#logs.set(attempt, log);
    return log;
  }

  async #isArchived(attempt: AttemptId): Promise<boolean> {
    const { archive } = this.#options;
    if (!archive.mayHave(attempt)) return false;
    const known = this.#archived.get(attempt);
    if (known !== undefined) return known;
    const isArchived = await archive.has(attempt);
    this.#archived.set(attempt, isArchived);
    return isArchived;
  }
}

/** Its checksum says that it is what was written. */
function parseEnd(frame: Frame): LogEnd {
  return JSON.parse(Buffer.from(frame.payload).toString()) as LogEnd;
}
