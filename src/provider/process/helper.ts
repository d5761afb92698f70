// A process of its own, so that the server never forks (that stops its event loop for as long as it has memory to copy). It starts agents, each
// in a session of its own and with none of the server's pipes, and ends when the server closes its input. Agents outlive both.
import { spawn } from "node:child_process";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { every } from "#every.ts";
import { signalTo } from "#processes.ts";
import { boundedCommand } from "./bounded-command.ts";
import { enterGroups, makeGroups, memoryKillsIn } from "./group-files.ts";
import type { Answer, ListedEntry, Request, StartRequest } from "./protocol.ts";
import { killWorker, type WorkerRecord, WorkerRecords } from "./records.ts";

const pollMs = 1_000;
const stopPollMs = 20;

/** The worker certainly does not exist. */
class CertainFailure extends Error {}

class Helper {
  readonly #records: WorkerRecords;
  readonly #starting = new Map<string, Promise<string>>();
  readonly #stopping = new Set<string>();
  /** Agents that this helper started and whose exit it will see. */
  readonly #children = new Set<string>();

  constructor(directory: string) {
    this.#records = new WorkerRecords(directory);
  }

  async answer(request: Request): Promise<unknown> {
    switch (request.op) {
      case "start":
        return this.#startOnce(request.worker);
      case "stop":
        return this.#stop(request.workerId, request.graceMs);
      case "list":
        return this.#list();
      case "isDead":
        return this.#isDead(request.workerId, request.uid);
    }
  }

  /** Notes the end of agents that are nobody's children here. */
  async poll(): Promise<void> {
    for (const record of this.#records.list()) {
      const { workerId, uid } = record;
      this.#records.boundLog(workerId);
      const isOwn = this.#children.has(workerId) || this.#starting.has(workerId);
      const isWatched = isOwn || this.#records.isOthers(record);
      if (isWatched || this.#stopping.has(workerId) || this.#records.pidOf(uid) !== undefined)
        continue;
      this.#bury(record, { exitCode: undefined, signal: undefined });
    }
  }

  async #startOnce(request: StartRequest): Promise<string> {
    const { workerId } = request;
    const running = this.#records.find(workerId);
    if (running?.uid !== undefined && this.#records.pidOf(running.uid) !== undefined) {
      return running.uid;
    }
    const starting = this.#starting.get(workerId) ?? this.#start(request, running);
    this.#starting.set(workerId, starting);
    return starting.finally(() => this.#starting.delete(workerId));
  }

  async #start(request: StartRequest, old: WorkerRecord | undefined): Promise<string> {
    const { workerId, command, serverCa } = request;
    if (old !== undefined) killWorker(old);
    else if (this.#records.list().length >= request.maxWorkers) {
      throw new CertainFailure(`no more than ${request.maxWorkers} workers at a time`);
    }
    const paths = request.groups.map(({ path }) => path);
    const record = this.#records.create(workerId, paths);
    const folder = this.#records.folderOf(workerId);
    const caPath = `${folder}/ca.pem`;
    if (serverCa !== undefined) writeFileSync(caPath, serverCa);
    const log = openSync(this.#records.logOf(workerId), "a", 0o600);
    try {
      makeGroups(request.groups);
      return await this.#spawn(request, record, {
        command: boundedCommand(command, request.dataBytes),
        log,
        env: {
          ...request.env,
          ...markerOf(record),
          HODEI_OTP_FD: "3",
          HODEI_AGENT_WORK_DIR: folder,
          ...(serverCa === undefined ? {} : { HODEI_CA_CERT_PATH: caPath }),
        },
      });
    } catch (error) {
      killWorker(record);
      this.#records.remove(workerId);
      const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
      throw new CertainFailure(`cannot start ${command[0]}: ${code}`, { cause: error });
    } finally {
      closeSync(log);
    }
  }

  async #spawn(
    request: StartRequest,
    record: WorkerRecord,
    how: { command: readonly string[]; log: number; env: Record<string, string> },
  ): Promise<string> {
    const { workerId } = request;
    const [program = "", ...args] = how.command;
    const child = spawn(program, args, {
      cwd: this.#records.folderOf(workerId),
      env: how.env,
      detached: true,
      stdio: ["ignore", how.log, how.log, "pipe"],
    });
    const started = Promise.withResolvers<void>();
    child.once("spawn", started.resolve);
    child.once("error", started.reject);
    child.once("exit", (code, signal) => {
      this.#children.delete(workerId);
      const exit = { exitCode: code ?? undefined, signal: signal ?? undefined };
      if (!this.#stopping.has(workerId)) this.#bury(record, exit);
    });
    await started.promise;
    const { pid } = child;
    if (pid === undefined) throw new Error("no pid");
    enterGroups(request.groups, pid);
    const pipe = child.stdio[3];
    if (pipe !== null && pipe !== undefined && "end" in pipe) {
      // An agent that ends before it reads its token shows in its exit.
      pipe.on("error", () => undefined);
      pipe.end(request.otp);
    }
    this.#children.add(workerId);
    child.unref();
    return this.#records.setPid(record, pid);
  }

  async #stop(workerId: string, graceMs: number): Promise<void> {
    await this.#starting.get(workerId)?.catch(() => undefined);
    const record = this.#records.find(workerId);
    if (record === undefined) return;
    this.#stopping.add(workerId);
    try {
      const pid = this.#records.pidOf(record.uid);
      if (pid !== undefined) signalTo(pid, "SIGTERM");
      const killAt = performance.now() + graceMs;
      while (this.#records.pidOf(record.uid) !== undefined && performance.now() < killAt) {
        await wait(stopPollMs);
      }
      this.#bury(record, { exitCode: undefined, signal: undefined });
    } finally {
      this.#stopping.delete(workerId);
    }
  }

  #list(): ListedEntry[] {
    return this.#records.list().map(({ workerId, uid }) => ({
      workerId,
      uid: uid ?? "",
      isRunning: this.#records.pidOf(uid) !== undefined,
    }));
  }

  /** An agent that is gone may have left its jobs; they go first. */
  async #isDead(workerId: string, uid: string | undefined): Promise<boolean> {
    if (this.#starting.has(workerId)) return false;
    const record = this.#records.find(workerId);
    if (record === undefined && uid !== undefined && this.#records.isElsewhere(uid)) {
      throw new Error("it was started on another machine");
    }
    if (this.#records.pidOf(uid ?? record?.uid) !== undefined) return false;
    const isOther = uid !== undefined && record?.uid !== undefined && record.uid !== uid;
    return record === undefined || isOther || killWorker(record);
  }

  #bury(
    record: WorkerRecord,
    exit: { exitCode: number | undefined; signal: string | undefined },
  ): void {
    const { workerId, marker, groups } = record;
    // Somebody else may have buried it, and even started another one by that name.
    if (this.#records.find(workerId)?.marker !== marker) return;
    // What cannot be killed keeps its record, and the next round tries again.
    const memoryKills = memoryKillsIn(groups);
    if (!killWorker(record)) return;
    const output = this.#records.tailOf(workerId);
    this.#records.remove(workerId);
    const wasStopped = this.#stopping.has(workerId);
    tell({ op: "gone", workerId, wasStopped, ...exit, memoryKills, output });
  }
}

function tell(answer: Answer): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

function markerOf(record: WorkerRecord): Record<string, string> {
  const [name = "", value = ""] = record.marker.split("=");
  return { [name]: value };
}

const helper = new Helper(process.argv[2] ?? ".");
const loop = every({ intervalMs: pollMs, onError: () => undefined }, () => helper.poll());
// The server is gone when its pipe is; so is everybody who would hear an answer.
process.stdout.on("error", () => process.exit(0));
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as Request;
  const { id } = request;
  helper.answer(request).then(
    (value) => tell({ op: "answer", id, value }),
    (error: unknown) => {
      const message = error instanceof Error ? error.message : String(error);
      tell({ op: "error", id, message, isCertain: error instanceof CertainFailure });
    },
  );
}
await loop[Symbol.asyncDispose]();
process.exit(0);
