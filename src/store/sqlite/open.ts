import { Worker } from "node:worker_threads";
import { HodeiError } from "#error.ts";
import type { Store } from "#store/store.ts";
import { methods, type Answer, type Call, type Method } from "./batch.ts";
import { packCalls, unpackAnswers } from "./parcel.ts";
import type { FromWorker, ToWorker, WorkerInput } from "./worker.ts";

export interface SqliteOptions {
  /** The file; it and its companions are made when they are missing. Its folder must exist. */
  readonly path: string;
  /** Events kept for each job. */
  readonly maxEventsPerJob?: number;
  /** How many turns a tenant takes for one of another; 1 unless named. */
  readonly tenantWeights?: Readonly<Record<string, number>>;
  /** Called once when a commit has an unknown outcome or the thread died: every call is answered `unavailable` from then on. */
  readonly onBroken?: (error: HodeiError) => void;
}

/**
 * Opens the embedded store. Its thread holds the database and all logic; here, the calls of one turn of the event loop are gathered into one message,
 * and while one transaction runs, the next one gathers. Errors: `failed_precondition` when another process has it open or it is of a newer
 * program, `data_loss` when it is damaged.
 */
export async function openSqliteStore(options: SqliteOptions): Promise<Store> {
  const { onBroken, ...input } = options;
  const thread = new StoreThread(input, onBroken);
  await thread.opened;
  const call =
    (method: Method) =>
    (...args: unknown[]) =>
      thread.call({ method, args });
  const calls = Object.fromEntries(methods.map((method) => [method, call(method)]));
  return { ...(calls as Methods), [Symbol.asyncDispose]: () => thread.close() };
}

type Methods = Pick<Store, Method>;

interface Pending {
  readonly call: Call;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

class StoreThread {
  readonly opened: Promise<void>;
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #onBroken: ((error: HodeiError) => void) | undefined;
  #gathered: Pending[] = [];
  #running: readonly Pending[] = [];
  #isScheduled = false;
  #isClosing = false;
  #broken: HodeiError | undefined;
  #onIdle: (() => void) | undefined;

  constructor(input: WorkerInput, onBroken: ((error: HodeiError) => void) | undefined) {
    this.#onBroken = onBroken;
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: input });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.opened = promise;
    const exited = Promise.withResolvers<void>();
    this.#exited = exited.promise;
    this.#worker.on("message", (message: FromWorker) => {
      if (message.kind === "ready") resolve();
      else if (message.kind === "refused") reject(errorOf(message.answer));
      else if (message.kind === "answers") {
        const calls = this.#running.map((pending) => pending.call);
        this.#settle(unpackAnswers(calls, message.answers));
      } else this.#break(message.message);
    });
    this.#worker.on("error", (error: Error) => {
      reject(error);
      this.#break(error.message);
    });
    this.#worker.on("exit", () => {
      const error = new HodeiError("unavailable", "the store's thread has ended");
      reject(error);
      if (!this.#isClosing) this.#break(error.message);
      exited.resolve();
    });
  }

  call(call: Call): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    if (this.#broken !== undefined || this.#isClosing) {
      reject(this.#broken ?? new HodeiError("unavailable", "the store is closed"));
      return promise;
    }
    this.#gathered.push({ call, resolve, reject });
    this.#schedule();
    return promise;
  }

  /** Finishes what was called before, then closes. */
  async close(): Promise<void> {
    if (!this.#isClosing) {
      this.#isClosing = true;
      if (this.#broken === undefined && this.#gathered.length + this.#running.length > 0) {
        await new Promise<void>((resolve) => {
          this.#onIdle = resolve;
        });
      }
      this.#post({ kind: "close" });
    }
    await this.#exited;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#running.length > 0 || this.#gathered.length === 0) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.#gathered.length === 0) return;
      this.#running = this.#gathered;
      this.#gathered = [];
      const calls = packCalls(this.#running.map((pending) => pending.call));
      this.#post({ kind: "run", calls }, [calls.bytes.buffer]);
    });
  }

  #post(message: ToWorker, transferred: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transferred);
  }

  #settle(answers: readonly Answer[]): void {
    const done = this.#running;
    this.#running = [];
    for (const [place, answer] of answers.entries()) {
      const pending = done[place];
      if (answer.kind === "value") pending?.resolve(answer.value);
      else pending?.reject(errorOf(answer));
    }
    if (this.#gathered.length > 0) this.#schedule();
    else this.#onIdle?.();
  }

  #break(message: string): void {
    if (this.#broken !== undefined) return;
    const cause = new Error(message);
    const error = new HodeiError("unavailable", "the store has stopped; the outcome is unknown", {
      cause,
      hint: "restart the server",
    });
    this.#broken = error;
    for (const pending of [...this.#running, ...this.#gathered]) pending.reject(error);
    this.#running = [];
    this.#gathered = [];
    this.#onIdle?.();
    if (!this.#isClosing) this.#onBroken?.(error);
  }
}

function errorOf(answer: Answer): Error {
  if (answer.kind === "value") return new Error("the store answered where an error was due");
  const { code, message, hint } = answer;
  if (code === undefined) return new Error(`the store failed: ${message}`);
  return new HodeiError(code, message, hint === undefined ? {} : { hint });
}
