import { execFile, execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmdirSync,
  rmSync,
  unlinkSync,
} from "node:fs";
import { join } from "node:path";
import type { AgentLog } from "./log.ts";
import type { Spawner } from "./spawner.ts";

/** Both ends of a pipe, as descriptors. Who takes it closes both. */
export interface PipeEnds {
  readonly reader: number;
  readonly writer: number;
}

export interface OutputPipes {
  readonly stdout: PipeEnds;
  readonly stderr: PipeEnds;
}

/** Pipes that are made at a time: two for one job, at most so many ahead of need. */
const leastBatch = 2;
const mostBatch = 64;

/**
 * Real pipes for the output of jobs. Node itself makes socket pairs, which nobody can open by name: `echo x > /dev/stderr` fails on
 * them. A program makes named pipes, many at a time; all are opened at both ends and unlinked at once, so that nothing is left of them
 * whatever becomes of the agent.
 */
export class Pipes {
  readonly #workDir: string;
  readonly #log: AgentLog;
  readonly #spawner: Spawner;
  readonly #ready: PipeEnds[] = [];
  #batch = leastBatch;
  #refill: Promise<void> | undefined;
  #isMissing = false;

  constructor(workDir: string, log: AgentLog, spawner: Spawner) {
    this.#workDir = workDir;
    this.#log = log;
    this.#spawner = spawner;
  }

  /** Makes those of so many jobs ahead of need, and goes on ahead of it when there are several. */
  prepare(jobs: number): void {
    this.#batch = Math.max(leastBatch, Math.min(mostBatch, 4 * jobs - 2));
    if (this.#ready.length < 2 * jobs) this.#fill();
  }

  /** The pipes of one job; undefined where none can be made. */
  take(): OutputPipes | undefined {
    if (this.#ready.length < 2) this.#fillNow();
    const [stdout, stderr] = this.#ready.splice(-2);
    if (stdout === undefined || stderr === undefined) return undefined;
    if (this.#batch > leastBatch && this.#ready.length < this.#batch / 2) this.#fill();
    return { stdout, stderr };
  }

  /** Resolves when nothing is made any more. */
  async close(): Promise<void> {
    this.#isMissing = true;
    await this.#refill;
    for (const ends of this.#ready.splice(0)) closeEnds(ends);
  }

  /** Makes more in the background. */
  #fill(): void {
    if (this.#isMissing || this.#refill !== undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#refill = promise;
    this.#make((paths, done) => {
      const made = (error: Error | null): void => {
        this.#refill = undefined;
        done(error);
        resolve();
      };
      const makeHere = (): void => void execFile("mkfifo", ["-m", "600", ...paths], made);
      if (this.#spawner.isReady) {
        this.#spawner.makeFifos(paths).then(() => made(null), makeHere);
      } else makeHere();
    });
  }

  /** The job waits for it; this is for the first one, and for a burst that the background cannot keep up with. */
  #fillNow(): void {
    if (this.#isMissing) return;
    this.#make((paths, done) => {
      execFileSync("mkfifo", ["-m", "600", ...paths], { stdio: "ignore" });
      done(null);
    });
  }

  #make(run: (paths: readonly string[], done: (error: Error | null) => void) => void): void {
    const directory = makeDirectory(this.#workDir);
    const paths = Array.from({ length: this.#batch }, (_, index) => join(directory, `${index}`));
    const done = (error: unknown): void => {
      if (error !== null) this.#giveUp(error);
      else this.#openAll(paths);
      removeAll(directory, paths);
    };
    try {
      run(paths, done);
    } catch (error) {
      done(error);
    }
  }

  #openAll(paths: readonly string[]): void {
    try {
      for (const path of paths) this.#ready.push(open(path));
    } catch (error) {
      // Those that are open serve; after them a start fails with the same words, or is lucky.
      const reason = error instanceof Error ? error.message : String(error);
      this.#log.warn({ reason }, "cannot open pipes ahead of need");
    }
  }

  #giveUp(error: unknown): void {
    if (this.#isMissing) return;
    this.#isMissing = true;
    const reason = error instanceof Error ? error.message : String(error);
    this.#log.warn({ reason }, "no named pipes; jobs cannot open /dev/stdout and /dev/stderr");
  }
}

export function closeReaders({ stdout, stderr }: OutputPipes): void {
  closeSync(stdout.reader);
  closeSync(stderr.reader);
}

export function closeWriters({ stdout, stderr }: OutputPipes): void {
  closeSync(stdout.writer);
  closeSync(stderr.writer);
}

/** In memory where that can be: a disk costs each job a fifth more. */
function makeDirectory(workDir: string): string {
  try {
    return mkdtempSync("/dev/shm/hodei-pipes-");
  } catch {
    mkdirSync(workDir, { recursive: true });
    return mkdtempSync(join(workDir, "pipes-"));
  }
}

function open(path: string): PipeEnds {
  // The reader must not wait for a writer, and must be there before one.
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return { reader, writer: openSync(path, constants.O_WRONLY) };
  } catch (error) {
    closeSync(reader);
    throw error;
  }
}

function closeEnds({ reader, writer }: PipeEnds): void {
  closeSync(reader);
  closeSync(writer);
}

function removeAll(directory: string, paths: readonly string[]): void {
  try {
    for (const path of paths) unlinkSync(path);
    rmdirSync(directory);
  } catch {
    // Some were never made.
    rmSync(directory, { recursive: true, force: true });
  }
}
