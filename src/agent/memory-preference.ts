import { writeFileSync } from "node:fs";

/** When memory runs out the job goes before the agent. Only the most is always allowed: a cluster may have given the agent itself nearly as much. */
export function preferForMemoryKill(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, "1000");
  } catch {
    // It has ended already, or this is not Linux.
  }
}
