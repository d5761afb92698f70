import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { JobSpec } from "#job/job.ts";
import { resultOf, startedOf } from "../fake/agent.ts";
import { type Gateway, startGateway } from "../fake/gateway.ts";

let gateway: Gateway;
beforeEach(async () => {
  gateway = await startGateway({ limits: { suspectMs: 200, startMs: 50, graceMs: 0 } });
});
afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
});

/** A worker with one attempt that runs and one that its agent does not start; the agent was asked to drop that one. */
async function recalled(spec: Partial<JobSpec> = {}) {
  const { agent } = await gateway.agent({ slots: 2 });
  const control = agent.control();
  await gateway.submit(2, spec);
  const first = await control.next("assignment");
  const second = await control.next("assignment");
  control.send(startedOf(first));
  expect(await control.next("fenced")).toEqual({ attemptId: second.attemptId });
  const ack = (mayHaveRun: boolean): void => {
    const value = { attemptId: second.attemptId, mayHaveRun };
    control.send({ $case: "fenceAck", value });
  };
  return { control, first, second, ack };
}

describe("G9: an attempt that a connected agent did not start in time", () => {
  test("is placed again on the agent's word alone", async () => {
    const { control, first, second, ack } = await recalled();
    // It is asked again, and as long as it says nothing the job is its own.
    await control.next("fenced");
    await control.sync(1);
    expect(await gateway.job(second.jobId)).toMatchObject({ state: "starting", infraRetries: 0 });
    ack(false);
    await vi.waitFor(async () => {
      const job = await gateway.job(second.jobId);
      expect(job.infraRetries).toBe(1);
      expect(job.attempts[0]).toMatchObject({
        state: "ended",
        failure: { cause: "start_timeout" },
      });
    }, 9_000);
    expect((await gateway.job(first.jobId)).state).toBe("running");
    // The slot is free again, and takes what waits.
    const again = await control.next("assignment");
    expect(again).toMatchObject({ jobId: second.jobId, attemptNumber: 2 });
    expect(again.attemptId).not.toBe(second.attemptId);
  });

  test("is a loss after the start when the agent cannot say that nothing of it ran", async () => {
    const { second, ack } = await recalled();
    ack(true);
    await vi.waitFor(async () => {
      expect(await gateway.job(second.jobId)).toMatchObject({
        state: "failed",
        failure: { cause: "start_timeout", blame: "node", userCodeMayHaveRun: true },
      });
    }, 9_000);
  });

  test("has its result when that came first", async () => {
    const { control, second, ack } = await recalled();
    control.send(startedOf(second), resultOf(second));
    ack(true);
    await control.next("resultAck");
    expect((await gateway.job(second.jobId)).state).toBe("succeeded");
  });

  test("is nobody's business to acknowledge before it was asked for", async () => {
    const { agent } = await gateway.agent({ slots: 2 });
    const control = agent.control();
    await gateway.submit(1);
    const only = await control.next("assignment");
    control.send(
      { $case: "fenceAck", value: { attemptId: only.attemptId, mayHaveRun: false } },
      { $case: "fenceAck", value: { attemptId: "no id", mayHaveRun: false } },
    );
    control.send(startedOf(only));
    await control.sync(1);
    await vi.waitFor(async () => {
      expect((await gateway.job(only.jobId)).state).toBe("running");
    }, 9_000);
  });
});
