import { Client, Metadata } from "@grpc/grpc-js";
import { AgentServiceService } from "#rpc/gen/hodei/v1/agent_service.ts";
import type { ChannelOptions } from "./channel.ts";
import { clientOptions, credentialsOf } from "./servers.ts";
import { clientError, HodeiClientError } from "./error.ts";

export interface TokenClaim {
  readonly workerId: string;
  readonly otp: string;
  readonly session: string;
}

/** Tries to redeem a worker's one-time token, as an intruder would; gives the code of the refusal, undefined where there was none. */
export async function tryRedeem(
  options: ChannelOptions,
  claim: TokenClaim,
): Promise<string | undefined> {
  // Which replica is asked does not matter.
  const [address = ""] = options.address.split(",");
  const client = new Client(address.trim(), credentialsOf(options), clientOptions(options));
  const metadata = new Metadata();
  metadata.set("hodei-worker-id", claim.workerId);
  metadata.set("hodei-otp", claim.otp);
  metadata.set("hodei-session", claim.session);
  const { path, requestSerialize, responseDeserialize } = AgentServiceService.redeem;
  const request = AgentServiceService.redeem.requestDeserialize(Buffer.alloc(0));
  const deadline = Date.now() + callMs;
  try {
    return await new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        { deadline },
        (error) => {
          const failure = error === null ? undefined : clientError(error);
          if (failure?.code === "UNAVAILABLE") reject(failure);
          else if (failure?.code === "DEADLINE_EXCEEDED") reject(failure);
          else resolve(failure?.code);
        },
      );
    });
  } catch (error) {
    if (error instanceof HodeiClientError) throw error;
    throw clientError(error);
  } finally {
    client.close();
  }
}

const callMs = 10_000;
