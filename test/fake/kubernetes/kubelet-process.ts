import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import {
  findMarked,
  listProcesses,
  pageBytes,
  readProcess,
  signalTo,
  treeOf,
  type ProcessEntry,
} from "#processes.ts";
import { ContainerLog } from "./kubelet-log.ts";

export interface ProcessOptions {
  readonly id: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Who runs it, where the kubelet may choose. */
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly memoryLimitBytes?: number;
}

export interface ProcessEnd {
  readonly exitCode: number;
  /** Whether any process of the container was killed for its memory; its first one need not be. */
  readonly isOutOfMemory: boolean;
  readonly finishedAt: Date;
}

const marker = "FAKE_CONTAINER";

/** A container's first process and whatever comes of it. When the first one ends, the rest is killed, as at the end of a pid namespace. */
export class ContainerProcess {
  readonly log = new ContainerLog();
  readonly startedAt = new Date();
  readonly memoryLimitBytes: number | undefined;
  readonly ended: Promise<ProcessEnd>;
  readonly #id: string;
  readonly #child: ChildProcess;
  readonly #pid: number;
  /** Everybody seen so far by pid, with the tick of its start: one whose parent ended is found again. */
  readonly #seen = new Map<number, number>();
  #isOutOfMemory = false;

  private constructor(child: ChildProcess, pid: number, options: ProcessOptions) {
    this.#child = child;
    this.#pid = pid;
    this.#id = options.id;
    this.memoryLimitBytes = options.memoryLimitBytes;
    this.ended = this.#wait();
    // A test process that ends early must leave nothing running.
    if (alive.size === 0) process.once("exit", killAlive);
    alive.add(this);
    void this.ended.then(() => {
      alive.delete(this);
      if (alive.size === 0) process.off("exit", killAlive);
    });
  }

  /** Throws what the runtime says when the command cannot be started. */
  static async start(options: ProcessOptions): Promise<ContainerProcess> {
    const [program = "", ...rest] = options.command;
    const child = spawn(program, rest, {
      env: { ...options.env, [marker]: options.id },
      cwd: options.cwd,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      ...options.user,
    });
    try {
      if (child.pid === undefined) await once(child, "spawn");
    } catch (error) {
      throw new Error(startProblem(program, error), { cause: error });
    }
    if (child.pid === undefined) throw new Error(startProblem(program, undefined));
    return new ContainerProcess(child, child.pid, options);
  }

  /** A container's first process gets TERM only if it handles it: nothing happens to it by default. */
  terminate(): void {
    if (this.heedsTerm) signalTo(this.#pid, "SIGTERM");
  }

  /** Whether its first process has set a handler for TERM. */
  get heedsTerm(): boolean {
    const status = textOf(`/proc/${this.#pid}/status`);
    const caught = BigInt(`0x${/^SigCgt:\s*(\w+)/m.exec(status)?.[1] ?? "0"}`);
    return ((caught >> 14n) & 1n) === 1n;
  }

  kill(): void {
    this.look(listProcesses());
    for (const pid of this.#everybody()) signalTo(pid, "SIGKILL");
  }

  /** Notes who belongs to the container, and kills the largest of them when they use too much together. */
  look(all: readonly ProcessEntry[]): void {
    const known = all.filter(({ pid, startTicks }) => this.#seen.get(pid) === startTicks);
    const tree = treeOf([this.#pid, ...known.map(({ pid }) => pid)], all);
    for (const { pid, startTicks } of tree) this.#seen.set(pid, startTicks);
    const used = tree.reduce((sum, entry) => sum + bytesOf(entry), 0);
    if (this.memoryLimitBytes === undefined || used <= this.memoryLimitBytes) return;
    const largest = tree.toSorted((one, other) => bytesOf(other) - bytesOf(one))[0];
    if (largest === undefined) return;
    this.#isOutOfMemory = true;
    signalTo(largest.pid, "SIGKILL");
  }

  #everybody(): number[] {
    const seen = [...this.#seen].filter(([pid, ticks]) => readProcess(pid)?.startTicks === ticks);
    const marked = [...findMarked([`${marker}=${this.#id}`]).values()].flat();
    return [...new Set([...seen.map(([pid]) => pid), ...marked])];
  }

  async #wait(): Promise<ProcessEnd> {
    this.#child.stdout?.on("data", (chunk: Buffer) => this.log.write("stdout", chunk));
    this.#child.stderr?.on("data", (chunk: Buffer) => this.log.write("stderr", chunk));
    const closed = once(this.#child, "close");
    const [code, signal] = (await once(this.#child, "exit")) as [
      number | null,
      NodeJS.Signals | null,
    ];
    const finishedAt = new Date();
    for (const pid of this.#everybody()) signalTo(pid, "SIGKILL");
    await Promise.race([closed, delay(500, undefined, { ref: false })]);
    this.log.end();
    const exitCode = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
    return { exitCode, isOutOfMemory: this.#isOutOfMemory, finishedAt };
  }
}

const alive = new Set<ContainerProcess>();

function killAlive(): void {
  for (const one of alive) one.kill();
}

function bytesOf({ residentPages, isZombie }: ProcessEntry): number {
  return isZombie ? 0 : residentPages * pageBytes;
}

function startProblem(program: string, error: unknown): string {
  const runc =
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init:";
  const isDenied = error instanceof Error && "code" in error && error.code === "EACCES";
  if (isDenied) return `${runc} exec: "${program}": permission denied`;
  return program.startsWith("/")
    ? `${runc} exec: "${program}": stat ${program}: no such file or directory`
    : `${runc} exec: "${program}": executable file not found in $PATH`;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
