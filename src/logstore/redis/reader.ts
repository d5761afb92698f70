import { HodeiError } from "#error.ts";
import type { AttemptId } from "#job/id.ts";
import { logStreams, noSequences, type LogStream, type Sequences } from "#log/record.ts";
import { Cursor } from "#logstore/frames/cursor.ts";
import type { Frame } from "#logstore/frames/frame.ts";
import { tailStart } from "#logstore/frames/tail.ts";
import type { ReadOptions, StoredBatch } from "#logstore/logstore.ts";
import type { LogLink } from "./link.ts";
import type { News, Watch } from "./news.ts";
import type { Segments } from "./segments.ts";
import { frameOf, nextCount, type StreamReader } from "./stream.ts";
import type { LogView, Segment, WholeView } from "./view.ts";

export interface ReadGround {
  readonly link: LogLink;
  readonly news: News;
  readonly segments: Segments;
  readonly streams: StreamReader;
  readonly log: { warn(facts: object, message: string): void };
  isExpired(view: LogView): boolean;
  /** Refuses with `unavailable` once the store is closed. */
  assertOpen(): void;
}

/** Reads one log: its segments, then its stream, then what comes. Between two steps it holds no more than one block or one answer. */
export async function* readLog(
  ground: ReadGround,
  attempt: AttemptId,
  options: ReadOptions,
): AsyncGenerator<StoredBatch> {
  using watch = options.follow ? ground.news.watch(attempt) : undefined;
  const first = await findOrWait(ground, attempt, { ...options, watch });
  if (first === undefined) return;
  const reading = new Reading(ground, attempt, first);
  const cursor = new Cursor(reading, options.stream, await reading.start(options));
  let count = nextCount([]);
  while (!options.signal.aborted) {
    ground.assertOpen();
    if (ground.isExpired(reading.view)) {
      yield* cursor.rest("expired");
      return;
    }
    const seen = watch?.version ?? 0;
    const step = await reading.next(cursor.number, count);
    if (step === "gone") {
      yield* cursor.rest("expired");
      return;
    }
    for await (const frames of step.groups) {
      if (options.signal.aborted) return;
      for (const frame of frames) yield* cursor.take(frame);
    }
    cursor.skipTo(step.behind);
    count = step.nextCount;
    if (!step.isLast) continue;
    if (reading.end !== undefined || watch === undefined) {
      yield* cursor.rest();
      yield* cursor.missing();
      return;
    }
    await watch.change(seen, options.signal);
  }
}

async function findOrWait(
  ground: ReadGround,
  attempt: AttemptId,
  { signal, watch }: { readonly signal: AbortSignal; readonly watch: Watch | undefined },
): Promise<LogView | undefined> {
  for (;;) {
    ground.assertOpen();
    const seen = watch?.version ?? 0;
    const view = await ground.link.view(attempt);
    if (view !== undefined) return view;
    if (watch === undefined || signal.aborted) return undefined;
    await watch.change(seen, signal);
  }
}

/** What comes next in a log. */
interface Step {
  readonly groups: AsyncIterable<readonly Frame[]> | Iterable<readonly Frame[]>;
  /** Everything up to here has been read then, or is not there any more. */
  readonly behind: number;
  /** Whether there was nothing. */
  readonly isLast: boolean;
  readonly nextCount: number;
}

/** Where the batches of a log are, as it was last seen. */
class Reading {
  view: LogView;
  readonly #ground: ReadGround;
  readonly #attempt: AttemptId;
  #whole: WholeView | undefined;
  /** Where nothing was found that is known to be there. */
  #emptyAt: number | undefined;

  constructor(ground: ReadGround, attempt: AttemptId, view: LogView) {
    this.#ground = ground;
    this.#attempt = attempt;
    this.view = view;
  }

  get durable(): LogView["durable"] {
    return this.view.durable;
  }

  get dropped(): number {
    return this.view.dropped;
  }

  get end(): LogView["end"] {
    return this.view.end;
  }

  async start({ tailLines, stream, after }: ReadOptions): Promise<{
    readonly after: Sequences;
    readonly number: number;
  }> {
    if (tailLines === undefined) return { after, number: await this.#numberBefore(after, stream) };
    return tailStart(this.durable, this.#backwards(), { lines: tailLines, stream });
  }

  /** The next batches after `number`; "gone": there is no log any more. */
  async next(number: number, count: number): Promise<Step | "gone"> {
    if (number < this.view.sealed.number) {
      const segment = (await this.#segments()).find(({ last }) => last > number);
      // What was sealed and is in no segment was dropped.
      if (segment === undefined) return skip(this.view.sealed.number);
      return { ...skip(segment.last), groups: this.#read(segment) };
    }
    const { view, entries } = await this.#ground.streams.after(this.#attempt, number, count);
    if (view === undefined) return "gone";
    const before = this.view.durable.number;
    this.view = view;
    // Part of it may have been sealed before it was asked for.
    if (view.sealed.number > number) return skip(number);
    const last = entries.at(-1);
    if (last !== undefined) {
      return {
        ...skip(last.number),
        groups: [this.#frames(entries)],
        nextCount: nextCount(entries),
      };
    }
    if (view.durable.number <= number) return { ...skip(number), isLast: true };
    // It was added just now, or it is not there although it should be.
    const isLost = this.#emptyAt === number && before > number;
    this.#emptyAt = number;
    return skip(isLost ? before : number);
  }

  /** The newest batch of which all wanted records are known to be at or before `after`. Batches of the stream are looked through by the cursor. */
  async #numberBefore(after: Sequences, stream: LogStream | undefined): Promise<number> {
    const isNewer = ({ lastRecords }: Segment): boolean =>
      logStreams.some((name) => (stream ?? name) === name && lastRecords[name] > after[name]);
    const isOld = logStreams.every((name) => after[name] >= this.durable.mark.last[name]);
    if (isOld) return this.durable.number;
    if (logStreams.every((name) => after[name] === noSequences[name])) return 0;
    const segments = this.view.sealed.number === 0 ? [] : await this.#segments();
    const segment = segments.find(isNewer);
    if (segment !== undefined) return segment.first - 1;
    return segments.at(-1)?.last ?? 0;
  }

  async *#backwards(): AsyncGenerator<readonly Frame[]> {
    let number = this.durable.number;
    let count = nextCount([]);
    while (number > 0) {
      if (number <= this.view.sealed.number) {
        const segment = (await this.#segments()).findLast(({ first }) => first <= number);
        if (segment === undefined) return;
        const groups: (readonly Frame[])[] = [];
        for await (const frames of this.#read(segment)) groups.push(frames);
        yield* groups.toReversed();
        number = segment.first - 1;
        continue;
      }
      const { view, entries } = await this.#ground.streams.before(this.#attempt, number, count);
      if (view === undefined) return;
      this.view = view;
      const frames = this.#frames(entries);
      if (frames.length > 0) yield frames.toReversed();
      // What the stream does not have any more is in segments by now.
      if (entries.length === 0 && number > view.sealed.number) return;
      number = (entries.at(-1)?.number ?? number + 1) - 1;
      count = nextCount(entries);
    }
  }

  /** A segment that has gone meanwhile is read as empty, and the index is asked for again. */
  async *#read(segment: Segment): AsyncGenerator<readonly Frame[]> {
    const { segments, log } = this.#ground;
    try {
      for await (const frames of segments.read(this.#attempt, segment)) {
        if (frames !== "damaged") yield frames;
        else log.warn({ attempt: this.#attempt }, "stored log is damaged; readers see a gap");
      }
    } catch (error) {
      if (!(error instanceof HodeiError) || error.code !== "not_found") throw error;
      this.#whole = undefined;
      const isKnown = (await this.#segments()).some(({ name }) => name === segment.name);
      if (isKnown) log.warn({ attempt: this.#attempt }, "a segment of a log is missing");
    }
  }

  async #segments(): Promise<readonly Segment[]> {
    if (this.#whole === undefined || this.#whole.sealed.number < this.view.sealed.number) {
      const whole = await this.#ground.link.wholeView(this.#attempt);
      if (whole === undefined) return [];
      this.#whole = whole;
      this.view = whole;
    }
    return this.#whole.segments;
  }

  #frames(entries: readonly Parameters<typeof frameOf>[0][]): readonly Frame[] {
    const frames = entries.flatMap((entry) => frameOf(entry, this.#attempt) ?? []);
    if (frames.length < entries.length) {
      const { log } = this.#ground;
      log.warn({ attempt: this.#attempt }, "stored log is damaged; readers see a gap");
    }
    return frames;
  }
}

/** Nothing to be read up to here. */
function skip(behind: number): Step {
  return { groups: [], behind, isLast: false, nextCount: nextCount([]) };
}
