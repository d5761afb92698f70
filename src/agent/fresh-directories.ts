import { mkdirSync, readdirSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";

const mostReady = 512;

/**
 * Directories for jobs that name none. One that comes back as it was given is given again: on a journalled disk making and removing one
 * waits for everybody's fsync, and with it all jobs of this agent would wait. They go with the agent's own directory.
 */
export class FreshDirectories {
  readonly #root: string;
  readonly #ready: string[] = [];
  #made = 0;

  constructor(root: string) {
    this.#root = root;
    mkdirSync(root, { mode: 0o700 });
  }

  /** An empty directory. */
  take(): string {
    const ready = this.#ready.pop();
    if (ready !== undefined) return ready;
    const path = join(this.#root, String(++this.#made));
    mkdirSync(path, { mode: 0o700 });
    return path;
  }

  /** Nobody uses it any more: what is in it is removed. */
  give(path: string): void {
    if (this.#ready.length < mostReady && isFresh(path)) this.#ready.push(path);
    else void rm(path, { recursive: true, force: true }).catch(() => undefined);
  }
}

function isFresh(path: string): boolean {
  try {
    return readdirSync(path).length === 0 && (statSync(path).mode & 0o7777) === 0o700;
  } catch {
    return false;
  }
}
