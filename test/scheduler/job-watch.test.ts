import { describe, expect, test } from "vitest";
import type { JobId } from "#job/id.ts";
import type { JobEvent } from "#job/job.ts";
import { createJobWatch } from "#scheduler/job-watch.ts";
import { openMemoryStore } from "#store/memory/open.ts";

const never = new AbortController().signal;

async function setUp(pollMs = 60_000) {
  const store = openMemoryStore();
  const watch = createJobWatch({ store, pollMs });
  const job = {
    tenant: "default",
    spec: new Uint8Array(),
    name: "",
    labels: {},
    classKey: "class",
    priority: 0,
    deadline: Date.now() + 60_000,
    correlationId: "",
    actor: "me",
    idempotency: undefined,
    maxQueued: 100,
  };
  const [accepted] = await store.submitJobs([job], Date.now());
  if (accepted?.kind !== "accepted") throw new Error("not accepted");
  const { id } = accepted;
  const note = (message: string) =>
    store.recordStages([{ jobId: id, stage: "pulling", workerId: undefined, message }], Date.now());
  const cancel = () =>
    store.cancelJob(
      id,
      { reason: "", actor: "", deadline: 0, expiresAt: Date.now() + 60_000 },
      Date.now(),
    );
  return { store, watch, id, note, cancel };
}

async function collect(events: AsyncIterable<JobEvent>): Promise<string[]> {
  const found: string[] = [];
  for await (const { sequence, state } of events) found.push(`${sequence} ${state}`);
  return found;
}

describe("a watch of a job", () => {
  test("gives what was, then what comes, and ends with the final event", async () => {
    const { watch, id, note, cancel } = await setUp();
    const events = watch.follow(id, 0, never)[Symbol.asyncIterator]();
    expect(await events.next()).toMatchObject({ value: { sequence: 1, state: "queued" } });
    const next = events.next();
    await note("an image");
    watch.touch([id]);
    expect(await next).toMatchObject({ value: { sequence: 2, stage: "pulling" } });
    await cancel();
    watch.touch([id]);
    expect(await events.next()).toMatchObject({ value: { sequence: 3, state: "cancelled" } });
    expect(await events.next()).toMatchObject({ done: true });
  });

  test("resumes behind its cursor, and ends at once when there is nothing more to come", async () => {
    const { watch, id, note, cancel } = await setUp();
    await note("an image");
    await cancel();
    expect(await collect(watch.follow(id, 1, never))).toEqual(["2 queued", "3 cancelled"]);
    expect(await collect(watch.follow(id, 3, never))).toEqual([]);
  });

  test("sees what another process stored, by polling", async () => {
    const { watch, id, cancel } = await setUp(1);
    const found = collect(watch.follow(id, 0, never));
    await cancel();
    expect(await found).toEqual(["1 queued", "2 cancelled"]);
  });

  test("refuses a job that is not there", async () => {
    const { watch } = await setUp();
    const events = collect(watch.follow("j00000000001" as JobId, 0, never));
    await expect(events).rejects.toMatchObject({ code: "not_found" });
  });

  test("ends when its reader goes away", async () => {
    const { watch, id } = await setUp();
    const stop = new AbortController();
    const found = collect(watch.follow(id, 0, stop.signal));
    stop.abort();
    expect((await found).length).toBeLessThan(2);
  });

  test("gives each of many watchers every event", async () => {
    const { watch, id, note, cancel } = await setUp();
    const all = Array.from({ length: 20 }, () => collect(watch.follow(id, 0, never)));
    for (let at = 0; at < 300; at++) await note(`step ${at}`);
    watch.touch([id]);
    await cancel();
    watch.touch([id]);
    const [first] = await Promise.all(all);
    for (const found of await Promise.all(all)) expect(found).toEqual(first);
    expect(first?.at(-1)).toMatch(/cancelled$/);
  });
});
