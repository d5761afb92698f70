import { Readable, Writable } from "node:stream";
import { runCli } from "#cli/cli.ts";
import type { Host, Output } from "#cli/host.ts";

/** A user at a keyboard: what was written, and a Ctrl-C. */
export class FakeUser {
  readonly stdout: MemoryOutput;
  readonly stderr: MemoryOutput;
  readonly #listeners = new Set<() => void>();
  readonly #host: Partial<Host>;

  constructor(options: { readonly isTerminal?: boolean; readonly host?: Partial<Host> } = {}) {
    this.stdout = new MemoryOutput(options.isTerminal ?? false);
    this.stderr = new MemoryOutput(options.isTerminal ?? false);
    this.#host = options.host ?? {};
  }

  run(...argv: readonly string[]): Promise<number> {
    return runCli({
      argv,
      env: {},
      version: "1.2.3",
      stdin: Readable.from([Buffer.from("typed")]),
      stdout: this.stdout,
      stderr: this.stderr,
      onInterrupt: (listener) => {
        this.#listeners.add(listener);
        return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
      },
      startLocalServer: () => Promise.reject(new Error("there is no local server here")),
      serve: () => Promise.resolve(0),
      runAgent: () => Promise.resolve(0),
      readManifests: () => Promise.reject(new Error("there are no manifests here")),
      restore: () => Promise.reject(new Error("there is no backup here")),
      copyStore: () => Promise.reject(new Error("there are no stores here")),
      diagnose: () => Promise.resolve({ checks: [], isReachable: true }),
      ...this.#host,
    });
  }

  interrupt(): void {
    for (const listener of this.#listeners) listener();
  }
}

export class MemoryOutput extends Writable implements Output {
  readonly isTTY: boolean;
  readonly columns = 100;
  readonly #parts: Buffer[] = [];

  constructor(isTerminal: boolean) {
    super();
    this.isTTY = isTerminal;
  }

  override _write(part: Buffer, _encoding: string, done: () => void): void {
    this.#parts.push(part);
    done();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  get text(): string {
    return this.bytes.toString();
  }
}
