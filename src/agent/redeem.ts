import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { setTimeout as wait } from "node:timers/promises";
import type { AgentServiceClient } from "#rpc/gen/hodei/v1/agent_service.ts";
import type { Servers } from "./servers.ts";
import { isRefusal } from "./link.ts";
import type { AgentLog } from "./log.ts";
import type { Proof } from "./settings.ts";
import { agentVersion, protocol } from "./messages.ts";

const callMs = 10_000;

export interface RedeemOptions {
  readonly servers: Servers;
  readonly workerId: string;
  readonly proof: Proof;
  readonly session: string;
  /** After this long without an answer the token is no longer valid anyway. */
  readonly patienceMs: number;
  readonly stop: AbortSignal;
  readonly log: AgentLog;
}

/**
 * Exchanges the token for the session. A lost reply is repeated with the same session, which succeeds again (DESIGN G13), also at another replica.
 * `refused` is definite; `unreachable` means that patience ran out.
 */
export async function redeem(
  options: RedeemOptions,
): Promise<"redeemed" | "refused" | "unreachable" | "stopped"> {
  const metadata = new Metadata();
  metadata.set("hodei-worker-id", options.workerId);
  metadata.set("hodei-session", options.session);
  const { servers } = options;
  const backoff = servers.backoff();
  const giveUpAt = performance.now() + options.patienceMs;

  while (!options.stop.aborted) {
    // A projected token is renewed in its file, so that it is read for each try.
    metadata.set(options.proof.header, options.proof.read());
    const server = servers.current;
    const error = await call(server.client, metadata);
    if (error === undefined) return "redeemed";
    const { code } = error;
    const serverAddress = server.address;
    if (isRefusal(error)) {
      options.log.error(
        { code, detail: error.details },
        `the server refused ${options.proof.name}`,
      );
      return "refused";
    }
    if (performance.now() > giveUpAt) {
      const facts = { serverAddress, code, detail: error.details };
      options.log.error(facts, `gave up: ${troubleOf(error)}`);
      return "unreachable";
    }
    servers.leave();
    const retryMs = backoff.next();
    const leftMs = Math.max(0, Math.round(giveUpAt - performance.now()));
    const facts = { serverAddress, code, detail: error.details, retryMs, leftMs };
    options.log.warn(facts, `${troubleOf(error)}; trying again`);
    await wait(retryMs, undefined, { signal: options.stop }).catch(() => undefined);
  }
  return "stopped";
}

/** In plain words, since this is what a human finds in the container's log. */
function troubleOf({ code, details }: ServiceError): string {
  if (code === status.DEADLINE_EXCEEDED) {
    return "the server does not answer; a network policy or a firewall may be in the way";
  }
  if (code !== status.UNAVAILABLE) return "the server cannot take the agent";
  if (/name resolution|ENOTFOUND|EAI_AGAIN/i.test(details)) {
    return "the name of the server is not known here";
  }
  if (/certificate|altname|self.signed|issuer/i.test(details)) {
    return "the server shows a certificate that its authority does not vouch for";
  }
  if (/SSL|TLS|wrong version/i.test(details)) return "the server does not speak TLS as expected";
  if (/ECONNREFUSED/.test(details)) return "nobody listens at the address of the server";
  return "the server cannot be reached";
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
