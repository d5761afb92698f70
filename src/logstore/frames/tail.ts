import { decodeBatch } from "#log/batch.ts";
import type { LogStream, Sequences } from "#log/record.ts";
import type { Frame, Mark } from "./frame.ts";

/** So many more batches are looked at for the beginning of a line that another stream's lines have interrupted. */
const mostExtra = 64;

/** Where a reader begins who wants the last `lines` lines of what is there now; `backwards` gives its batches in groups, the newest group first. */
export async function tailStart(
  { number, mark }: { readonly number: number; readonly mark: Mark },
  backwards: AsyncIterable<readonly Frame[]>,
  wanted: { lines: number; stream: LogStream | undefined },
): Promise<{ after: Sequences; number: number }> {
  const counter = new TailCounter(mark.last, wanted);
  if (wanted.lines <= 0) return { after: mark.last, number };
  let extra = 0;
  for await (const frames of backwards) {
    for (const frame of frames.toReversed()) {
      if (frame.number > number) continue;
      const isEnough = counter.takeBackwards(frame.payload);
      if (counter.isFull) extra++;
      if (isEnough || extra > mostExtra) return { after: counter.after, number: frame.number - 1 };
    }
  }
  return { after: { stdout: 0, stderr: 0, system: 0 }, number: 0 };
}

/** Counts lines from the end of a log. A line ends with a line feed, or with the end of what there is of its stream. */
class TailCounter {
  after: Record<LogStream, number>;
  #left: number;
  readonly #stream: LogStream | undefined;
  /** Streams of which a line was begun to be taken, whose beginning may come earlier. */
  readonly #inLine = new Set<LogStream>();
  /** Streams that begin with a whole line. */
  readonly #isWhole = new Set<LogStream>();

  constructor(
    last: Sequences,
    { lines, stream }: { lines: number; stream: LogStream | undefined },
  ) {
    this.after = { ...last };
    this.#left = lines;
    this.#stream = stream;
  }

  /** Whether it has as many lines as are wanted, though the first of some stream may not be whole. */
  get isFull(): boolean {
    return this.#left === 0;
  }

  /** Takes the batch before the one that it took last; says whether it has come to the beginning of the first wanted line, and of the others that it is in. */
  takeBackwards(bytes: Uint8Array): boolean {
    for (const { stream, ...chunk } of decodeBatch(bytes).toReversed()) {
      if ((this.#stream ?? stream) !== stream || chunk.gap !== undefined) continue;
      let end = chunk.data.length;
      for (let at = chunk.lengths.length - 1; at >= 0 && !this.#isWhole.has(stream); at--) {
        const endsLine = chunk.data[end - 1] === 10 && (chunk.lengths[at] ?? 0) > 0;
        const isNewLine = endsLine || !this.#inLine.has(stream);
        if (isNewLine && this.#left === 0) {
          this.#inLine.delete(stream);
          this.#isWhole.add(stream);
          break;
        }
        if (isNewLine) this.#left--;
        this.#inLine.add(stream);
        this.after[stream] = chunk.firstSequence + at - 1;
        if (this.after[stream] === 0) this.#inLine.delete(stream);
        end -= chunk.lengths[at] ?? 0;
      }
    }
    return this.#left === 0 && this.#inLine.size === 0;
  }
}
