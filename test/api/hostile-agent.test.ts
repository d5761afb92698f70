import { status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { agentLimits } from "#api/agent-service-ground.ts";
import { serveLogs } from "#api/agent-service-logs.ts";
import { createSecret } from "#worker/secret.ts";
import { createLogger } from "#telemetry.ts";
import { attemptIdOf, type JobId, type WorkerId } from "#job/id.ts";
import { FakeAgent } from "../fake/agent.ts";
import { type Gateway, startGateway } from "../fake/gateway.ts";

let gateway: Gateway;
beforeEach(async () => {
  gateway = await startGateway();
});
afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
});

describe("an agent that means no good", () => {
  test.for(["malformed", "not its own"])(
    "cannot fill the memory with answers about %s attempts that it does not read",
    async (kind) => {
      let sent = 0;
      async function* requests() {
        for (; sent < 40_000; sent++) {
          const id = attemptIdOf(Buffer.from(String(sent).padStart(6, "0").padEnd(17, "x")));
          const attemptId = kind === "malformed" ? `a${sent}` : id;
          yield { attemptId, jobId: "j00000000001" as JobId, batchNumber: 1, batch: Buffer.of(1) };
          // Lets what was taken be refused.
          if (sent % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
        }
      }
      const { attempts, store } = gateway;
      const ground = {
        attempts,
        store,
        limits: { ...agentLimits, creditBytes: 100_000_000 },
        count: () => undefined,
        now: Date.now,
      };
      const call = {
        signal: new AbortController().signal,
        log: createLogger("silent"),
        reset: () => undefined,
      };
      const workerId = "w00000000001" as WorkerId;
      const write = async () => new Promise<void>(() => undefined);
      const serving = serveLogs(ground, { workerId, call }, { requests: requests(), write });
      await expect(serving).rejects.toMatchObject({ code: "resource_exhausted" });
      expect(sent).toBeLessThan(20_000);
    },
  );

  test("cannot have long ids kept for it", async () => {
    const { agent } = await gateway.agent();
    const control = agent.control();
    await control.next("welcome");
    const attemptId = "a".repeat(100_000);
    control.send({ $case: "started", value: { attemptId, jobId: "", at: undefined } });
    expect(await control.error()).toMatchObject({ code: status.INVALID_ARGUMENT });
    const logs = agent.logs();
    const ended = new Promise((resolve) => logs.stream.on("error", resolve));
    logs.send({ attemptId, jobId: "" }, 1, Buffer.of(1));
    expect(await ended).toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  test("cannot hide a second claimant behind a flood of wrong tokens", async () => {
    const { id } = await gateway.agent();
    const { address } = gateway;
    const rows = async () => {
      const query = { correlationId: "", actor: id, target: "", pageSize: 500 };
      return (await gateway.store.listAudit({ ...query, pageToken: undefined })).rows;
    };
    const guesser = new FakeAgent({ address, workerId: id });
    for (let at = 0; at < 120; at++) {
      await guesser.redeem(createSecret()).catch(() => undefined);
    }
    await guesser[Symbol.asyncDispose]();
    expect(await rows()).toHaveLength(100);

    const { id: other, otp } = await gateway.plan();
    const [first, second] = [1, 2].map(() => new FakeAgent({ address, workerId: other, otp }));
    await first?.redeem();
    await expect(second?.redeem()).rejects.toMatchObject({ code: status.UNAUTHENTICATED });
    const query = { correlationId: "", actor: other, target: "", pageSize: 500 };
    const page = await gateway.store.listAudit({ ...query, pageToken: undefined });
    expect(page.rows).toMatchObject([{ outcome: "already_redeemed" }]);
    for (const agent of [first, second]) await agent?.[Symbol.asyncDispose]();
  });

  test("leaves nothing behind with logs that are not its own", async () => {
    const { id } = await gateway.agent();
    const [jobId] = await gateway.submit();
    const attemptId = attemptIdOf(Buffer.alloc(17, 3));
    const batch = { attemptId, jobId: jobId as JobId, number: 1, bytes: Buffer.of(1) };
    expect(await gateway.attempts.appendLog(id, batch)).toBe("fenced");
    expect(gateway.attempts.stats().workers).toBe(0);
  });
});
