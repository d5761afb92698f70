import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Gateway, startGateway } from "../fake/gateway.ts";

let gateway: Gateway;
beforeEach(async () => {
  gateway = await startGateway();
});
afterEach(() => gateway[Symbol.asyncDispose]());

test("an agent that is asked to end gets nothing more, and its job is told why", async () => {
  const { id, agent } = await gateway.agent({ slots: 2 });
  const control = agent.control();
  await gateway.submit();
  const { jobId } = await control.next("assignment");
  const grace = { seconds: 20, nanos: 0 };
  control.send({ $case: "draining", value: { reason: "terminated", grace } });
  await vi.waitFor(async () =>
    expect(await gateway.store.findWorker(id)).toMatchObject({
      state: "draining",
      reason: "terminated",
    }),
  );
  const job = await gateway.job(jobId);
  await vi.waitFor(async () => {
    const events = await gateway.store.listEvents(job.id, 0, 100);
    expect(events.map(({ message }) => message)).toContain(
      "the worker is being ended (terminated); the job gets 20 s to end by itself",
    );
  });
  await gateway.submit();
  await control.sync();
  expect(control.count("assignment")).toBe(1);
  // Nor over a newer connection.
  const again = agent.control({ held: [] });
  await again.sync();
  expect(again.count("drain")).toBe(1);
  expect(await gateway.store.listLiveWorkers()).toHaveLength(1);
});
