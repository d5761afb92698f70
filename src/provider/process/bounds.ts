import { statfs } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import type { Resources } from "#job/job.ts";
import type { WorkerSpec } from "#provider/provider.ts";
import type { Bounds } from "./control-groups.ts";

const mib = 1024 * 1024;
/** What a worker may use beside its jobs. */
const agentMemoryBytes = 128 * mib;
/** What a process may have beyond its job's memory where each is bounded by itself: programs such as Node reserve far more than they use. */
const spareDataBytes = 1024 * mib;

/** What this machine has at all. */
export interface Machine {
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

export async function machineOf(directory: string): Promise<Machine> {
  const { blocks, bsize } = await statfs(directory);
  // Zero where nothing constrains us, and something vast on some systems.
  const constrained = process.constrainedMemory() || Infinity;
  return {
    cpus: availableParallelism(),
    memoryBytes: Math.min(totalmem(), constrained),
    diskBytes: blocks * bsize,
  };
}

/** Why a job never fits this machine, in numbers; undefined when it does. */
export function refusalBy(machine: Machine, resources: Resources): string | undefined {
  const { cpuMillis, memoryBytes, diskBytes } = resources;
  if (cpuMillis > machine.cpus * 1_000) {
    return `it asks for ${cpuMillis / 1_000} CPUs, and this machine has ${machine.cpus}`;
  }
  if (memoryBytes > machine.memoryBytes) {
    return `it asks for ${inMib(memoryBytes)} of memory, and this machine has ${inMib(machine.memoryBytes)}`;
  }
  return diskBytes > machine.diskBytes
    ? `it asks for ${inMib(diskBytes)} of disk, and the one for workers has ${inMib(machine.diskBytes)}`
    : undefined;
}

/** What all processes of a worker may use together: what its jobs asked for, and the agent's memory. */
export function boundsOf({ workerClass, slots }: WorkerSpec): Bounds {
  const { memoryBytes, cpuMillis } = workerClass.resources;
  return {
    memoryBytes: memoryBytes === 0 ? 0 : memoryBytes * slots + agentMemoryBytes,
    cpuMillis: cpuMillis * slots,
  };
}

/** Most data of one process where nothing bounds all of them together; zero: no bound. */
export function dataBytesOf({ memoryBytes }: Bounds): number {
  return memoryBytes === 0 ? 0 : memoryBytes + spareDataBytes;
}

function inMib(bytes: number): string {
  return `${Math.floor(bytes / mib)} MiB`;
}
