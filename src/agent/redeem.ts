import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { setTimeout as wait } from "node:timers/promises";
import type { AgentServiceClient } from "#rpc/gen/hodei/v1/agent_service.ts";
import { Backoff } from "./backoff.ts";
import { isRefusal } from "./link.ts";
import type { AgentLog } from "./log.ts";
import { agentVersion, protocol } from "./messages.ts";

const callMs = 10_000;

export interface RedeemOptions {
  readonly client: AgentServiceClient;
  readonly workerId: string;
  readonly otp: string;
  readonly session: string;
  /** After this long without an answer the token is no longer valid anyway. */
  readonly patienceMs: number;
  readonly stop: AbortSignal;
  readonly log: AgentLog;
}

/**
 * Exchanges the token for the session. A lost reply is repeated with the same session, which succeeds again (DESIGN G13).
 * `refused` is definite; `unreachable` means that patience ran out.
 */
export async function redeem(
  options: RedeemOptions,
): Promise<"redeemed" | "refused" | "unreachable" | "stopped"> {
  const metadata = new Metadata();
  metadata.set("hodei-worker-id", options.workerId);
  metadata.set("hodei-otp", options.otp);
  metadata.set("hodei-session", options.session);
  const backoff = new Backoff(200, 5_000);
  const giveUpAt = performance.now() + options.patienceMs;

  while (!options.stop.aborted) {
    const error = await call(options.client, metadata);
    if (error === undefined) return "redeemed";
    const code = error.code;
    if (isRefusal(error)) {
      options.log.error({ code, detail: error.details }, "the server refused the one-time token");
      return "refused";
    }
    if (performance.now() > giveUpAt) {
      options.log.error({ code, detail: error.details }, "the server did not answer in time");
      return "unreachable";
    }
    options.log.warn({ code, detail: error.details }, "cannot redeem the token yet");
    await wait(backoff.next(), undefined, { signal: options.stop }).catch(() => undefined);
  }
  return "stopped";
}

async function call(
  client: AgentServiceClient,
  metadata: Metadata,
): Promise<ServiceError | undefined> {
  const { promise, resolve } = Promise.withResolvers<ServiceError | undefined>();
  client.redeem({ protocol, agentVersion }, metadata, { deadline: Date.now() + callMs }, (error) =>
    resolve(error ?? undefined),
  );
  return promise;
}
