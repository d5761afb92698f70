import { afterEach, beforeEach, describe, expect, type MockInstance, test, vi } from "vitest";
import { openMemoryStore } from "#store/memory/open.ts";
import { resultOf } from "../fake/agent.ts";
import { type Gateway, startGateway } from "../fake/gateway.ts";

let gateway: Gateway;
let store: ReturnType<typeof openMemoryStore>;
let claimNext: MockInstance<typeof store.claimNext>;
beforeEach(async () => {
  store = openMemoryStore();
  claimNext = vi.spyOn(store, "claimNext");
  gateway = await startGateway({ store });
});
afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
});

describe("dispatch", () => {
  test("a free slot is claimed for in the turn of the submit and in that of a result", async () => {
    const finishAttempts = vi.spyOn(store, "finishAttempts");
    const { agent } = await gateway.agent();
    const control = agent.control();
    await control.sync();
    const submitted = gateway.submit(2);
    expect(claimNext).toHaveBeenLastCalledWith(
      agent.options.workerId,
      expect.anything(),
      expect.anything(),
    );
    await submitted;
    control.send(resultOf(await control.next("assignment")));
    await control.next("assignment");
    const finished = finishAttempts.mock.invocationCallOrder.at(-1) ?? 0;
    expect(claimNext.mock.invocationCallOrder).toContain(finished + 1);
  });

  test("never gives a worker more than its slots", async () => {
    const { agent } = await gateway.agent({ slots: 3 });
    const control = agent.control();
    await gateway.submit(10);
    const first = await control.next("assignment");
    await control.sync();
    expect(control.count("assignment")).toBe(3);
    control.send(resultOf(first));
    await control.next("resultAck");
    await control.sync();
    expect(control.count("assignment")).toBe(4);
  });

  test("never gives a worker more than the jobs of its life", async () => {
    const { agent } = await gateway.agent({ slots: 2, maxJobs: 1 });
    const control = agent.control();
    await gateway.submit(2);
    control.send(resultOf(await control.next("assignment")));
    await control.next("resultAck");
    await control.sync();
    expect(control.count("assignment")).toBe(1);
  });

  test("a drained worker is told and given nothing more", async () => {
    const { id, agent } = await gateway.agent();
    const control = agent.control();
    await control.sync();
    await store.drainWorker(id, "no more", Date.now());
    gateway.attempts.signalDrain(id, "no more");
    expect(await control.next("drain")).toEqual({ reason: "no more" });
    await gateway.submit();
    await control.sync(2);
    expect(control.count("assignment")).toBe(0);
  });

  test("one wake asks a few of the idle workers, and all of them while there is enough", async () => {
    const workers = await Promise.all(
      Array.from({ length: 40 }, async () => (await gateway.agent()).agent),
    );
    const controls = workers.map((agent) => agent.control());
    for (const control of controls) await control.sync();
    await vi.waitFor(() => expect(claimNext.mock.settledResults.length).toBeGreaterThanOrEqual(40));
    claimNext.mockClear();
    await gateway.submit(1);
    await vi.waitFor(() => expect(controls.some((one) => one.count("assignment") > 0)).toBe(true));
    expect(claimNext.mock.calls.length).toBeLessThan(20);
    await gateway.submit(39);
    await vi.waitFor(() => {
      for (const control of controls) expect(control.count("assignment")).toBe(1);
    });
  });

  test("wakes that come while claims are under way ask few of many idle workers too", async () => {
    const workers = await Promise.all(
      Array.from({ length: 60 }, async () => (await gateway.agent()).agent),
    );
    const controls = workers.map((agent) => agent.control());
    for (const control of controls) await control.sync();
    await vi.waitFor(() => expect(claimNext.mock.settledResults.length).toBeGreaterThanOrEqual(60));
    claimNext.mockClear();
    const wakes = 40;
    let gate = Promise.withResolvers<void>();
    claimNext.mockImplementation(async () => {
      await gate.promise;
      return [];
    });
    for (let wake = 0; wake < wakes; wake++) {
      gateway.attempts.wake(new Set(["class"]));
      const last = gate;
      gate = Promise.withResolvers();
      gateway.attempts.wake(new Set(["class"]));
      last.resolve();
      await last.promise;
      await new Promise(setImmediate);
    }
    gate.resolve();
    expect(claimNext.mock.calls.length).toBeLessThanOrEqual(2 * wakes * 8);
  });

  test("jobs that are too many for those who rest go to whose claim was under way, too", async () => {
    const workers = await Promise.all(
      Array.from({ length: 9 }, async () => (await gateway.agent()).agent),
    );
    const controls = workers.map((agent) => agent.control());
    for (const control of controls) await control.sync();
    await vi.waitFor(() => expect(claimNext.mock.settledResults.length).toBeGreaterThanOrEqual(9));
    const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
    claimNext.mockImplementationOnce(async () => {
      await held;
      return [];
    });
    gateway.attempts.wake(new Set(["class"]));
    await new Promise(setImmediate);
    await gateway.submit(9);
    const assigned = (): number =>
      controls.reduce((sum, control) => sum + control.count("assignment"), 0);
    await vi.waitFor(() => expect(assigned()).toBe(8));
    letGo();
    await vi.waitFor(() => expect(assigned()).toBe(9));
  });
});
