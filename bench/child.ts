import { usageCall, type Calls, type Reply, type Request, type Usage } from "./part.ts";

// The process of one part: loads it, answers the calls of its parent, and leaves with it.

const { calls } = (await import(`./parts/${process.argv[2] ?? ""}.ts`)) as { calls: Calls };

process.on("message", (message) => void answer(message as Request));
process.once("disconnect", () => void leave());
process.send?.({ id: 0, value: "ready" });

async function answer(request: Request): Promise<void> {
  const reply = await perform(request).then(
    (value): Reply => ({ id: request.id, value }),
    (error: unknown): Reply => ({
      id: request.id,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    }),
  );
  process.send?.(reply);
}

async function perform({ name, argument }: Request): Promise<unknown> {
  if (name === usageCall) return readUsage(argument === true);
  const call = calls[name];
  if (call === undefined) throw new Error(`no call ${name}`);
  return await call(argument as never);
}

function readUsage(isCollected: boolean): Usage {
  if (isCollected) (globalThis as { gc?: () => void }).gc?.();
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed, external } = process.memoryUsage();
  return { cpuMicros: user + system, rssBytes: rss, heapBytes: heapUsed + external };
}

async function leave(): Promise<void> {
  await calls["stop"]?.(undefined as never);
  process.exit(0);
}
