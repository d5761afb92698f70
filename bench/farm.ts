import { type Part, type Parts, startPart } from "./part.ts";
import type { ServerSettings } from "./parts/server.ts";

/** A server of ours with connected agents that run nothing, and a client of the SDK: each a process of its own. */
export interface Farm {
  readonly server: Part<Parts["server"]>;
  readonly agents: Part<Parts["agents"]>;
  readonly sdk: Part<Parts["sdk"]>;
  readonly address: string;
}

export interface FarmOptions extends ServerSettings {
  readonly slots: number;
  /** Whether jobs are held instead of ended at once. */
  readonly holds?: boolean;
  /** A program under which the server is started. */
  readonly under?: readonly string[];
  /** The round trip between agents and server; 0 unless given. */
  readonly roundTripMs?: number;
}

export async function openFarm(stack: AsyncDisposableStack, options: FarmOptions): Promise<Farm> {
  const { holds, under, roundTripMs, ...settings } = options;
  const server = stack.use(await startPart("server", under === undefined ? {} : { under }));
  const sdk = stack.use(await startPart("sdk"));
  const agents = stack.use(await startPart("agents"));
  const { address, seats } = await server.call("start", settings);
  const agentAddress =
    roundTripMs === undefined
      ? address
      : await stack.use(await startPart("link")).call("start", { target: address, roundTripMs });
  await agents.call("connect", {
    address: agentAddress,
    seats,
    slots: options.slots,
    ends: holds !== true,
  });
  return { server, agents, sdk, address };
}
