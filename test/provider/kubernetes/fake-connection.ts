import type { Call, Connection, ReadCall } from "#provider/kubernetes/connection.ts";
import { KubeError } from "#provider/kubernetes/kube-error.ts";

interface Stored {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly resourceVersion: string;
  };
}

interface Change {
  readonly version: number;
  readonly resource: string;
  readonly type: string;
  readonly object: Stored;
}

interface Watch {
  readonly resource: string;
  readonly namespace: string | undefined;
  readonly query: Readonly<Record<string, string>>;
  readonly lines: Lines;
}

/** A few objects that can be listed and watched, with faults on request. */
export class FakeConnection implements Connection {
  readonly server = "https://fake";
  readonly defaultNamespace = "default";
  calls = 0;
  /** Of lists and watches, in order: `GET /api/v1/pods`, `WATCH /api/v1/pods 12`. */
  readonly asked: string[] = [];
  /** What a call is answered with; undefined: as usual. */
  fault: (asked: string) => Error | undefined = () => undefined;
  log: string | undefined;
  #version = 100;
  #oldest = 0;
  #history: Change[] = [];
  readonly #objects = new Map<string, { readonly resource: string; readonly object: Stored }>();
  readonly #watches = new Set<Watch>();

  get watches(): readonly Watch[] {
    return [...this.#watches];
  }

  /** Makes or changes an object; whoever watches sees it. */
  put(resource: string, object: object): void {
    const stored = this.#stamp(object);
    const key = `${resource}/${stored.metadata.uid}`;
    const type = this.#objects.has(key) ? "MODIFIED" : "ADDED";
    this.#objects.set(key, { resource, object: stored });
    this.#say(resource, type, stored);
  }

  remove(resource: string, object: object): void {
    const stored = this.#stamp(object);
    this.#objects.delete(`${resource}/${stored.metadata.uid}`);
    this.#say(resource, "DELETED", stored);
  }

  /** Ends every watch: by an error, or as the server does now and then. */
  cut(error?: Error): void {
    for (const watch of this.#watches) watch.lines.end(error);
    this.#watches.clear();
  }

  /** Whatever was up to now can no longer be watched from. */
  compact(): void {
    this.#history = [];
    this.#oldest = this.#version;
  }

  say(line: object): void {
    for (const { lines } of this.#watches) lines.add(JSON.stringify(line));
  }

  bookmark(): void {
    const metadata = { resourceVersion: String(++this.#version) };
    this.say({ type: "BOOKMARK", object: { kind: "Pod", metadata } });
  }

  request<T>(call: Call): Promise<T> {
    this.calls += 1;
    return this.#answer(`${call.method} ${call.path}`, () => {
      const { resource, namespace } = placeOf(call.path);
      const all = [...this.#objects.values()]
        .filter((stored) => stored.resource === resource)
        .map(({ object }) => object)
        .filter(({ metadata }) => namespace === undefined || metadata.namespace === namespace);
      const from = Number(call.query?.["continue"] ?? 0);
      const until = from + Number(call.query?.["limit"] ?? all.length);
      return {
        metadata: {
          resourceVersion: String(this.#version),
          ...(until < all.length ? { continue: String(until) } : {}),
        },
        items: all.slice(from, until),
      } as T;
    });
  }

  stream(call: ReadCall & { readonly signal: AbortSignal }): Promise<AsyncIterable<string>> {
    const version = Number(call.query?.["resourceVersion"]);
    return this.#answer(`WATCH ${call.path} ${version}`, () => {
      const lines = new Lines(call.signal);
      const watch = { ...placeOf(call.path), query: call.query ?? {}, lines };
      if (version < this.#oldest) {
        const object = { kind: "Status", code: 410, message: "too old resource version" };
        lines.add(JSON.stringify({ type: "ERROR", object }));
        lines.end();
      } else {
        this.#watches.add(watch);
        for (const change of this.#history) if (change.version > version) pass(watch, change);
      }
      return lines;
    });
  }

  text(call: ReadCall): Promise<string> {
    return this.#answer(`LOG ${call.path}`, () => {
      const all = (this.log ?? "").split(/(?<=\n)/);
      const lines = all.slice(-Number(call.query?.["tailLines"] ?? all.length));
      return lines.join("").slice(0, Number(call.query?.["limitBytes"] ?? Infinity));
    });
  }

  endWithin(): void {}

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  #answer<T>(asked: string, answer: () => T): Promise<T> {
    this.asked.push(asked);
    const fault = this.fault(asked);
    return fault === undefined ? Promise.resolve(answer()) : Promise.reject(fault);
  }

  #stamp(object: object): Stored {
    const { metadata } = object as Stored;
    return { ...object, metadata: { ...metadata, resourceVersion: String(++this.#version) } };
  }

  #say(resource: string, type: string, object: Stored): void {
    const change = { version: this.#version, resource, type, object };
    this.#history.push(change);
    for (const watch of this.#watches) pass(watch, change);
  }
}

export function kubeError(status: number, message = "no"): KubeError {
  return new KubeError({ call: "fake", status, message });
}

function pass({ resource, namespace, lines }: Watch, { type, object, ...change }: Change): void {
  if (change.resource !== resource) return;
  if (namespace !== undefined && object.metadata.namespace !== namespace) return;
  lines.add(JSON.stringify({ type, object }));
}

function placeOf(path: string): { resource: string; namespace: string | undefined } {
  const match = /^\/api\/v1(?:\/namespaces\/([^/]+))?\/(\w+)$/.exec(path);
  if (match === null) throw new Error(`the fake does not know ${path}`);
  return { resource: match[2] ?? "", namespace: match[1] };
}

class Lines implements AsyncIterable<string> {
  readonly #signal: AbortSignal;
  readonly #lines: string[] = [];
  #end: { readonly error: Error | undefined } | undefined;
  #wake: () => void = () => undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#wake());
  }

  add(line: string): void {
    this.#lines.push(line);
    this.#wake();
  }

  end(error?: Error): void {
    this.#end = { error };
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    for (;;) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      yield* this.#lines.splice(0);
      if (this.#signal.aborted) throw new Error("aborted");
      if (this.#end?.error !== undefined) throw this.#end.error;
      if (this.#end !== undefined) return;
      if (this.#lines.length === 0) await promise;
    }
  }
}
