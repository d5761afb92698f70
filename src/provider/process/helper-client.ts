import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { HodeiError } from "#error.ts";
import type { Answer, GoneWorker, Request } from "./protocol.ts";

const restartMs = 200;
const restartMostMs = 5_000;
const heapMegabytes = 48;

/** A request without the number that ties its answer to it. */
export type Question = Request extends infer One
  ? One extends Request
    ? Omit<One, "id">
    : never
  : never;

/** The helper said that it certainly did not happen. */
export class HelperRefusal extends Error {}

/** What the helper's owner hears without having asked. */
export interface HelperEvents {
  readonly onGone: (worker: GoneWorker) => void;
  /** The helper died and is started again after a pause. */
  readonly onLost: (pauseMs: number) => void;
}

/** Talks to the helper, and starts another one when it dies. Agents do not notice. */
export class HelperClient implements AsyncDisposable {
  readonly #directory: string;
  readonly #events: HelperEvents;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #child: ChildProcess;
  #nextId = 1;
  #pauseMs = restartMs;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #isAlive = false;

  constructor(directory: string, events: HelperEvents) {
    this.#directory = directory;
    this.#events = events;
    this.#child = this.#start();
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Rejects with `unavailable` when the helper is gone: whether it was done is then unknown. */
  async ask(question: Question): Promise<unknown> {
    if (!this.#isAlive) throw gone();
    const id = this.#nextId++;
    const answer = Promise.withResolvers<unknown>();
    this.#waiting.set(id, answer);
    this.#child.stdin?.write(`${JSON.stringify({ ...question, id })}\n`);
    return answer.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    if (!this.#isAlive) return;
    const ended = once(this.#child, "exit");
    this.#child.stdin?.end();
    await ended;
  }

  #start(): ChildProcess {
    const script = fileURLToPath(new URL("./helper.ts", import.meta.url));
    // Detached, so that a Ctrl-C in the server's terminal does not reach it.
    const child = spawn(
      process.execPath,
      [`--max-old-space-size=${heapMegabytes}`, script, this.#directory],
      { detached: true, env: {}, stdio: ["pipe", "pipe", "ignore"] },
    );
    this.#isAlive = true;
    child.once("error", () => this.#lose(child));
    child.once("exit", () => this.#lose(child));
    child.stdin.on("error", () => undefined);
    createInterface({ input: child.stdout }).on("line", (line) => this.#take(line));
    return child;
  }

  #take(line: string): void {
    this.#pauseMs = restartMs;
    const answer = JSON.parse(line) as Answer;
    if (answer.op === "gone") {
      this.#events.onGone(answer);
      return;
    }
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.op === "answer") waiting?.resolve(answer.value);
    else if (answer.isCertain) waiting?.reject(new HelperRefusal(answer.message));
    else waiting?.reject(new HodeiError("unavailable", answer.message));
  }

  #lose(child: ChildProcess): void {
    if (child !== this.#child || !this.#isAlive) return;
    this.#isAlive = false;
    for (const { reject } of this.#waiting.values()) reject(gone());
    this.#waiting.clear();
    if (this.#isClosed) return;
    this.#events.onLost(this.#pauseMs);
    this.#timer = setTimeout(() => (this.#child = this.#start()), this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, restartMostMs);
  }
}

function gone(): HodeiError {
  return new HodeiError("unavailable", "the process provider's helper is not running");
}
