import { BroadcastChannel, isMainThread, threadId } from "node:worker_threads";

// Preloaded into every thread of a server that is measured: tells how much memory the thread holds, after a garbage collection.

export const memoryChannel = "hodei-bench-memory";

export interface ThreadMemory {
  readonly threadId: number;
  readonly heapBytes: number;
}

if (!isMainThread) {
  const channel = new BroadcastChannel(memoryChannel);
  channel.unref();
  channel.onmessage = (event) => {
    if ((event as { data: unknown }).data !== "read") return;
    (globalThis as { gc?: () => void }).gc?.();
    const { heapUsed, external } = process.memoryUsage();
    const memory: ThreadMemory = { threadId, heapBytes: heapUsed + external };
    channel.postMessage(memory);
  };
}
