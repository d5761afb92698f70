import type { AttemptId } from "#job/id.ts";
import { joinFrame, type Frame } from "#logstore/frames/frame.ts";
import { toArray, toBuffer, type LogLink } from "./link.ts";
import type { LogView } from "./view.ts";

/** A batch of a stream as it stands there. */
export interface StreamEntry {
  readonly number: number;
  readonly header: Buffer;
  readonly payload: Buffer;
}

/** Batches that are in the stream, and the log a moment later. */
export interface StreamPart {
  readonly view: LogView | undefined;
  readonly entries: readonly StreamEntry[];
}

/** What is asked for at once is about so large. */
const wantedBytes = 256 * 1024;
const mostEntries = 256;
/** When it is not known how large batches are. */
const firstEntries = 4;

/** How many batches to ask for next, after such ones. */
export function nextCount(entries: readonly StreamEntry[]): number {
  if (entries.length === 0) return firstEntries;
  const bytes = entries.reduce((sum, { payload }) => sum + payload.length, 0);
  const fitting = Math.floor(wantedBytes / Math.max(1, bytes / entries.length));
  // A few small ones do not say that the next are small.
  return Math.max(1, Math.min(mostEntries, fitting, 4 * entries.length));
}

type StreamRange = readonly [command: string, key: string, ...args: (string | number)[]];

/** Reads the batches of streams for readers; those who ask for the same at the same time share it. */
export class StreamReader {
  readonly #link: LogLink;
  readonly #flights = new Map<string, Promise<StreamPart>>();

  constructor(link: LogLink) {
    this.#link = link;
  }

  /** The first `count` batches after `number`. */
  after(attempt: AttemptId, number: number, count: number): Promise<StreamPart> {
    const key = `${attempt} ${number} ${count}`;
    let flight = this.#flights.get(key);
    if (flight === undefined) {
      const range = [
        "XRANGE",
        this.#stream(attempt),
        `${number + 1}-0`,
        "+",
        "COUNT",
        count,
      ] as const;
      flight = this.#ask(attempt, range).finally(() => this.#flights.delete(key));
      this.#flights.set(key, flight);
    }
    return flight;
  }

  /** The last `count` batches up to `number`, the newest first. */
  before(attempt: AttemptId, number: number, count: number): Promise<StreamPart> {
    const range = ["XREVRANGE", this.#stream(attempt), `${number}-0`, "-", "COUNT", count] as const;
    return this.#ask(attempt, range);
  }

  #stream(attempt: AttemptId): string {
    return this.#link.keysOf(attempt).stream;
  }

  async #ask(attempt: AttemptId, range: StreamRange): Promise<StreamPart> {
    const { view, entries } = await this.#link.rangeAndView(attempt, range);
    return { view, entries: parseEntries(entries) };
  }
}

export function parseEntries(answer: unknown): StreamEntry[] {
  return toArray(answer).map((entry) => {
    const [id, fields] = toArray(entry);
    const [, header, , payload] = toArray(fields);
    return {
      number: Number.parseInt(toBuffer(id).toString(), 10),
      header: toBuffer(header),
      payload: toBuffer(payload),
    };
  });
}

/** Undefined when it is damaged. */
export function frameOf({ header, payload }: StreamEntry, attempt: AttemptId): Frame | undefined {
  const frame = joinFrame(header, payload);
  return frame?.attempt === attempt ? frame : undefined;
}
