import { randomBytes } from "node:crypto";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { findMarked, readProcess, signalTo } from "#processes.ts";
import { endGroups } from "./group-files.ts";

const logBytes = 1024 * 1024;
const tailBytes = 500;
const killRounds = 50;

/** One worker as its file says. The marker is an assignment in the environment of the agent and of all that it starts. */
export interface WorkerRecord {
  readonly workerId: string;
  readonly marker: string;
  /** Boot id, pid and start time; undefined until the agent was started. */
  readonly uid: string | undefined;
  /** Directories of its control groups. */
  readonly groups: readonly string[];
  /** As `uid`, of the helper that started it; an earlier version had none. */
  readonly starter?: string;
}

/** The workers of one server on disk: a folder each, written before the agent is started and removed once nothing of it is left. */
export class WorkerRecords {
  readonly #directory: string;
  readonly #bootId = readBootId();

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  folderOf(workerId: string): string {
    return join(this.#directory, workerId);
  }

  logOf(workerId: string): string {
    return join(this.folderOf(workerId), "agent.log");
  }

  create(workerId: string, groups: readonly string[]): WorkerRecord {
    mkdirSync(this.folderOf(workerId), { recursive: true, mode: 0o700 });
    const marker = `HODEI_WORKER_MARKER=${randomBytes(16).toString("hex")}`;
    const record = { workerId, marker, uid: undefined, groups, starter: this.#self() };
    this.#write(record);
    return record;
  }

  /** Whether another helper that still runs has started it, and so sees how it ends. */
  isOthers({ starter }: WorkerRecord): boolean {
    return starter !== undefined && starter !== this.#self() && this.pidOf(starter) !== undefined;
  }

  /** Whether that was on another machine, or before this one's last start. */
  isElsewhere(uid: string): boolean {
    return uid.split(":")[0] !== this.#bootId;
  }

  setPid(record: WorkerRecord, pid: number): string {
    const uid = this.#uidOf(pid);
    this.#write({ ...record, uid });
    return uid;
  }

  find(workerId: string): WorkerRecord | undefined {
    try {
      const text = readFileSync(join(this.folderOf(workerId), "worker.json"), "utf8");
      // An earlier version had no groups.
      const record = JSON.parse(text) as Omit<WorkerRecord, "groups"> & Partial<WorkerRecord>;
      return { ...record, groups: record.groups ?? [] };
    } catch {
      return undefined;
    }
  }

  list(): WorkerRecord[] {
    return readdirSync(this.#directory).flatMap((name) => this.find(name) ?? []);
  }

  remove(workerId: string): void {
    rmSync(this.folderOf(workerId), { recursive: true, force: true });
  }

  /** The end of what the agent wrote. */
  tailOf(workerId: string): string {
    try {
      return readFileSync(this.logOf(workerId), "utf8").slice(-tailBytes);
    } catch {
      return "";
    }
  }

  /** An agent appends, so cutting its file is safe. */
  boundLog(workerId: string): void {
    const path = this.logOf(workerId);
    if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > logBytes) truncateSync(path);
  }

  /** The agent's pid while it runs. A pid that was given to another process has another start time, and so has one of another boot. */
  pidOf(uid: string | undefined): number | undefined {
    const [bootId, pid, startTicks] = uid?.split(":") ?? [];
    if (bootId !== this.#bootId) return undefined;
    const entry = readProcess(Number(pid));
    const isSame = entry?.startTicks === Number(startTicks) && !entry.isZombie;
    return isSame ? entry.pid : undefined;
  }

  #uidOf(pid: number): string {
    return `${this.#bootId}:${pid}:${readProcess(pid)?.startTicks ?? 0}`;
  }

  #self(): string {
    return this.#uidOf(process.pid);
  }

  #write(record: WorkerRecord): void {
    const path = join(this.folderOf(record.workerId), "worker.json");
    writeFileSync(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }
}

/** Kills whatever is in a worker's groups or carries its marker, until nothing does; whether that was reached. */
export function killWorker({ marker, groups }: WorkerRecord): boolean {
  const isEmpty = endGroups(groups);
  return killMarkedBy(marker) && isEmpty;
}

function killMarkedBy(marker: string): boolean {
  for (let round = 0; round < killRounds; round++) {
    const pids = (findMarked([marker]).get(marker) ?? []).filter((pid) => pid !== process.pid);
    if (pids.length === 0) return true;
    for (const pid of pids) signalTo(pid, "SIGKILL");
  }
  return false;
}

function readBootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "unknown";
  }
}
