import { EventEmitter, once } from "node:events";

export interface LogQuery {
  readonly timestamps?: boolean;
  readonly follow?: boolean;
  readonly tailLines?: number;
  readonly sinceSeconds?: number;
  readonly sinceTime?: string;
  readonly limitBytes?: number;
}

interface Line {
  readonly at: string;
  readonly text: Buffer;
}

/** What a container has written to stdout and stderr, as `pods/log` gives it: the newest `maxBytes` of it. */
export class ContainerLog {
  readonly #lines: Line[] = [];
  readonly #rest = new Map<string, Buffer>();
  readonly #grown = new EventEmitter().setMaxListeners(0);
  readonly #maxBytes: number;
  #bytes = 0;
  /** Lines that the ring has dropped, so that a follower keeps its place. */
  #dropped = 0;
  #isEnded = false;

  constructor(maxBytes = 10 * 1024 * 1024) {
    this.#maxBytes = maxBytes;
  }

  write(stream: "stdout" | "stderr", chunk: Buffer): void {
    let rest = Buffer.concat([this.#rest.get(stream) ?? Buffer.alloc(0), chunk]);
    for (let end = rest.indexOf(10); end !== -1; end = rest.indexOf(10)) {
      this.#push(rest.subarray(0, end + 1));
      rest = rest.subarray(end + 1);
    }
    this.#rest.set(stream, rest);
    this.#grown.emit("grown");
  }

  /** What a container says by its log when it says nothing else of its end: 80 lines or 2 KiB at most. */
  tail(): string {
    const lines = Buffer.concat(this.#lines.slice(-80).map(({ text }) => text));
    return lines.subarray(-2048).toString();
  }

  end(): void {
    for (const rest of this.#rest.values()) if (rest.length > 0) this.#push(rest);
    this.#rest.clear();
    this.#isEnded = true;
    this.#grown.emit("grown");
  }

  async *read(query: LogQuery, signal?: AbortSignal): AsyncGenerator<Buffer> {
    let left = query.limitBytes ?? Infinity;
    let place = this.#dropped + this.#start(query);
    for (;;) {
      while (place < this.#dropped + this.#lines.length) {
        const line = this.#lines[Math.max(place, this.#dropped) - this.#dropped];
        place = Math.max(place, this.#dropped) + 1;
        if (line === undefined) continue;
        const prefix = Buffer.from(query.timestamps === true ? `${line.at} ` : "");
        const text = Buffer.concat([prefix, line.text]).subarray(0, left);
        left -= text.length;
        if (text.length > 0) yield text;
        if (left === 0) return;
      }
      if (query.follow !== true || this.#isEnded || signal?.aborted === true) return;
      await once(this.#grown, "grown", signal === undefined ? {} : { signal }).catch(() => {});
    }
  }

  #start(query: LogQuery): number {
    const since =
      query.sinceTime ??
      (query.sinceSeconds === undefined
        ? ""
        : new Date(Date.now() - query.sinceSeconds * 1000).toISOString());
    const first = since === "" ? 0 : this.#lines.findIndex(({ at }) => at >= since);
    const from = first === -1 ? this.#lines.length : first;
    const tail = query.tailLines === undefined ? 0 : this.#lines.length - query.tailLines;
    return Math.max(from, tail, 0);
  }

  #push(text: Buffer): void {
    this.#lines.push({ at: nanoTimestamp(), text });
    this.#bytes += text.length;
    while (this.#bytes > this.#maxBytes && this.#lines.length > 1) {
      this.#bytes -= this.#lines.shift()?.text.length ?? 0;
      this.#dropped += 1;
    }
  }
}

function nanoTimestamp(): string {
  const ms = performance.timeOrigin + performance.now();
  const nanos = Math.floor((ms % 1000) * 1_000_000);
  return `${new Date(ms).toISOString().slice(0, 19)}.${String(nanos).padStart(9, "0")}Z`;
}
