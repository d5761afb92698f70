import type { Call } from "#rpc/edge.ts";
import type { AgentServiceService } from "#rpc/gen/hodei/v1/agent_service.ts";
import type { Handlers } from "#rpc/serve.ts";
import type { Attempts } from "#scheduler/scheduler.ts";
import type { WorkerStore } from "#store/store.ts";
import type { AgentAuth } from "./agent-service-auth.ts";
import {
  type AgentCount,
  type AgentGround,
  agentLimits,
  type AgentLimits,
  agentProtocol,
  type AgentStream,
  checkProtocol,
} from "./agent-service-ground.ts";
import { serveControl } from "./agent-service-control.ts";
import { serveLogs } from "./agent-service-logs.ts";

export interface AgentServiceOptions {
  readonly attempts: Attempts;
  readonly store: Pick<WorkerStore, "findWorker">;
  /** The same one that the listener's interceptor asks, which then has admitted the call already. */
  readonly auth: AgentAuth;
  readonly limits?: Partial<AgentLimits>;
  readonly count?: (what: AgentCount) => void;
  readonly now?: () => number;
}

/** The agents' side, for `safeHandlers`. Credentials are checked here again, so that a listener without the interceptor lets nobody in. */
export function agentService<Caller>(
  options: AgentServiceOptions,
): Handlers<typeof AgentServiceService, Caller> {
  const { attempts, store, auth, count = () => undefined, now = Date.now } = options;
  const limits = { ...agentLimits, ...options.limits };
  const ground: AgentGround = { attempts, store, limits, count, now };
  const admit = async (call: Call<Caller>): Promise<AgentStream> => {
    const workerId = await auth.admit(call);
    return { workerId, call };
  };
  return {
    async redeem(request, call) {
      await auth.admit(call);
      checkProtocol(request.protocol);
      return { protocol: agentProtocol };
    },
    async control(requests, call, write) {
      const stream = await admit(call);
      count("control_opened");
      await serveControl(ground, stream, { requests, write });
    },
    async logs(requests, call, write) {
      const stream = await admit(call);
      count("logs_opened");
      await serveLogs(ground, stream, { requests, write });
    },
  };
}
