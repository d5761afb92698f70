import { vi } from "vitest";
import { type WorkerId, workerIdOf } from "#job/id.ts";
import { containerNameOf } from "#provider/docker/names.ts";
import type { Provider, ProviderEvent } from "#provider/provider.ts";
import type { DockerGround } from "./ground.ts";
import { specOf } from "./spec.ts";

export const patience = { timeout: 30_000, interval: 20 };
export const never = new AbortController().signal;
let counter = Date.now();
export const nextId = (): WorkerId => workerIdOf(counter++);

export async function start(provider: Provider): Promise<{ workerId: WorkerId; uid: string }> {
  const workerId = nextId();
  return { workerId, ...(await provider.startWorker(specOf(workerId), never)) };
}

export async function reported(ground: DockerGround, id: WorkerId): Promise<void> {
  await vi.waitFor(async () => {
    if ((await ground.report(id)) === undefined) throw new Error(`${id} has said nothing`);
  }, patience);
}

/** What a command prints that is run beside the worker. */
export async function inside(ground: DockerGround, id: WorkerId, command: string): Promise<string> {
  const container = ground.docker.getContainer(containerNameOf(id));
  const exec = await container.exec({
    Cmd: ["bash", "-c", command],
    AttachStdout: true,
    AttachStderr: true,
    Tty: true,
  });
  const stream = await exec.start({ Tty: true });
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString().replaceAll("\r\n", "\n");
}

export function follow(provider: Provider) {
  const abort = new AbortController();
  const seen: ProviderEvent[] = [];
  const events = provider.watch(abort.signal);
  const reading = (async () => {
    for await (const event of events) seen.push(event);
  })();
  const of = (id: WorkerId) => seen.filter(({ workerId }) => workerId === id);
  return {
    of,
    messages: (id: WorkerId) =>
      of(id).flatMap((event) => (event.kind === "stage" ? [event.message] : [])),
    gone: (id: WorkerId) =>
      vi.waitFor(() => {
        const found = of(id).find(({ kind }) => kind === "gone");
        if (found?.kind !== "gone") throw new Error(`${id} is not gone`);
        return found;
      }, patience),
    async [Symbol.asyncDispose]() {
      abort.abort();
      await reading;
    },
  };
}
