import { onTestFinished } from "vitest";
import { createSequence, workerIdOf } from "#job/id.ts";
import { openRedisStore } from "#store/redis/open.ts";
import { classKeyOf, classOf } from "#worker/class.ts";
import { createSecret, hashSecret } from "#worker/secret.ts";
import { FakeAgent } from "../fake/agent.ts";
import type { Fleet } from "./fleet.ts";

/** Settings of a fleet whose workers are fake agents: nobody starts any, and those that there are stay. */
export const onlySeats = {
  HODEI_PROCESS_ENABLED: "false",
  HODEI_WORKER_MAX_JOBS: "0",
  HODEI_WORKER_IDLE_TIMEOUT_MS: "86400000",
  HODEI_SUSPECT_AFTER_MS: "30000",
  HODEI_DISCONNECT_GRACE_MS: "10000",
  HODEI_RENEW_INTERVAL_MS: "3000",
} as const;

/** So many agents of workers that no provider has started, each let in by a server of the fleet and with one slot for a plain job. */
export async function seatAgents(fleet: Fleet, count: number, at: number): Promise<FakeAgent[]> {
  await using store = await openRedisStore({ url: fleet.redis.url, instance: "default" });
  const now = Date.now();
  const next = createSequence();
  const resources = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };
  const classKey = classKeyOf(
    classOf({ image: "", resources, provider: undefined, executionTimeoutMs: 1 }),
  );
  const seats = Array.from({ length: count }, () => ({
    id: workerIdOf(next(now)),
    otp: createSecret(),
  }));
  const wishes = seats.map(({ id, otp }) => ({
    id,
    provider: "seats",
    classKey,
    tenant: undefined,
    resourceName: id,
    otpHash: hashSecret(otp),
    otpExpiresAt: now + 3_600_000,
    startDeadline: now + 3_600_000,
    slots: 1,
    maxJobs: 1_000_000,
    isWarm: true,
    isForJobOnly: false,
  }));
  await store.planWorkers(wishes, now);
  for (const { id } of seats) await store.recordCreated(id, `uid-${id}`, now);
  return Promise.all(
    seats.map(async ({ id, otp }) => {
      const agent = agentAt(fleet, at, { workerId: id, otp });
      await agent.redeem();
      return agent;
    }),
  );
}

/** The same agent, or a new one, where it dials that server. */
export function agentAt(
  fleet: Fleet,
  at: number,
  who: { readonly workerId: string; readonly otp?: string; readonly session?: string },
): FakeAgent {
  const agent = new FakeAgent({ ...who, address: fleet.servers[at]?.address ?? "" });
  onTestFinished(() => agent[Symbol.asyncDispose]());
  return agent;
}
