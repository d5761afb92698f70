import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { AgentLog } from "./log.ts";
import { spawnerRole, spawnerUrl } from "./spawner-program.ts";
import type { Answer, Request } from "./spawner-protocol.ts";
import type { Exit } from "./verdict.ts";

const heapMegabytes = 32;
/** A spawner that has not answered for so long is given up. */
const answerMs = 30_000;
const closeMs = 2_000;

/** What is to be started, and where its output goes. */
export type Start = Omit<Extract<Request, { op: "start" }>, "op" | "id">;

/** Who hears of a process. Either `onFailed`, or `onStarted` and then `onExit`; or `onLost` in the place of what is missing. */
export interface ProcessEvents {
  readonly onStarted: (pid: number) => void;
  readonly onFailed: (error: Error) => void;
  readonly onExit: (exit: Exit) => void;
  /** Nobody can tell any more whether it runs, or how it ends. */
  readonly onLost: () => void;
}

interface Waiting extends Partial<ProcessEvents> {
  readonly onMade?: () => void;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Starts processes by a small helper (`spawner-program.ts`), so that the agent itself does not fork. One that dies is not replaced: whoever asks it for something
 * hears `onLost`, and `isReady` is false from then on.
 */
export class Spawner {
  readonly #log: AgentLog;
  readonly #env: Readonly<Record<string, string>>;
  readonly #waiting = new Map<number, Waiting>();
  readonly #ended = Promise.withResolvers<void>();
  #child: ChildProcess | undefined;
  #lastId = 0;
  #isReady = false;
  #isClosed = false;

  /** `env` is what the helper itself sees. */
  constructor(log: AgentLog, env: Readonly<Record<string, string>>) {
    this.#log = log;
    this.#env = env;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Starts the helper unless there was one. Until it is ready the agent starts processes itself. */
  open(): void {
    if (this.#child !== undefined || this.#isClosed) return;
    try {
      this.#start();
    } catch {
      // Without descriptors to spare there are no pipes to it.
      this.#lose();
    }
  }

  start(what: Start, events: ProcessEvents): void {
    this.#ask((id) => ({ op: "start", id, ...what }), { ...events, timer: undefined });
  }

  /** Makes named pipes. */
  makeFifos(paths: readonly string[]): Promise<void> {
    return new Promise((onMade, onFailed) => {
      const onLost = (): void => onFailed(new Error("the spawner is gone"));
      this.#ask((id) => ({ op: "fifos", id, paths }), {
        onMade,
        onFailed,
        onLost,
        timer: undefined,
      });
    });
  }

  /** Resolves when the helper has ended; until then it is heard what it had still started. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#isReady = false;
    const child = this.#child;
    if (child === undefined) return;
    child.stdin?.end();
    const timer = setTimeout(() => child.kill("SIGKILL"), closeMs);
    await this.#ended.promise;
    clearTimeout(timer);
  }

  #start(): void {
    const flags = [`--max-old-space-size=${heapMegabytes}`, "--max-semi-space-size=1"];
    const program = fileURLToPath(spawnerUrl);
    // Detached, so that a Ctrl-C in the agent's terminal does not reach it.
    const child = spawn(process.execPath, [...flags, program, spawnerRole], {
      detached: true,
      env: this.#env,
      stdio: ["pipe", "pipe", "ignore"],
    });
    this.#child = child;
    child.once("error", () => this.#lose());
    child.stdin.on("error", () => undefined);
    createInterface({ input: child.stdout })
      .on("line", (line) => this.#take(JSON.parse(line) as Answer))
      // Its exit may be told before what it said last.
      .on("close", () => this.#lose());
  }

  #ask(request: (id: number) => Request, waiting: Waiting): void {
    const id = ++this.#lastId;
    waiting.timer = setTimeout(() => this.#child?.kill("SIGKILL"), answerMs);
    this.#waiting.set(id, waiting);
    this.#child?.stdin?.write(`${JSON.stringify(request(id))}\n`);
  }

  #take(answer: Answer): void {
    if (answer.op === "ready") {
      this.#isReady = !this.#isClosed;
      return;
    }
    const waiting = this.#waiting.get(answer.id);
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    if (answer.op !== "started") this.#waiting.delete(answer.id);
    switch (answer.op) {
      case "started":
        waiting.onStarted?.(answer.pid);
        break;
      case "exited": {
        const { code, signal } = answer;
        waiting.onExit?.({ exitCode: code ?? undefined, signal: signal ?? undefined });
        break;
      }
      case "made":
        waiting.onMade?.();
        break;
      case "failed":
        waiting.onFailed?.(Object.assign(new Error(answer.message), { code: answer.code }));
        break;
    }
  }

  #lose(): void {
    this.#ended.resolve();
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isReady = false;
    const lost = [...this.#waiting.values()];
    this.#waiting.clear();
    const facts = { processes: lost.length };
    this.#log.error(facts, "the spawner has died; from now on the agent starts processes itself");
    for (const { timer, onLost } of lost) {
      clearTimeout(timer);
      onLost?.();
    }
  }
}
