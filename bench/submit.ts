import {
  judge,
  type Question,
  type RunOptions,
  type Result,
  takeTurns,
  type Sample,
} from "./harness.ts";
import { type Part, type Parts, startPart } from "./part.ts";
import type { LoadResult } from "./parts/spin.ts";

export const question: Question = {
  name: "submit",
  asks: "What does a durable submit cost against a bare unary call of the same message?",
  run,
};

const ms = 1_000;
const specBytes = 1_000;
const inFlights = [64, 256] as const;

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  await using raw = await startPart("raw");
  await using server = await startPart("server");
  await using client = await startPart("client");
  await using sdk = await startPart("sdk");
  const rawAddress = await raw.call("start", {});
  const { address } = await server.call("start", {});
  const unary = (at: string, inFlight: number) => () =>
    client.call("unary", { address: at, inFlight, ms, specBytes });
  const cases = inFlights.flatMap((inFlight) => [
    { name: `raw_unary_c${inFlight}`, measure: () => sampled(raw, unary(rawAddress, inFlight)) },
    { name: `unary_c${inFlight}`, measure: () => sampled(server, unary(address, inFlight)) },
    {
      name: `sdk_c${inFlight}`,
      measure: () =>
        sampled(server, () => sdk.call("submit", { address, inFlight, ms, specBytes })),
    },
  ]);
  const samples = await takeTurns(cases, rounds);
  return inFlights.flatMap((inFlight) => {
    const line = { bench: "submit", unit: "jobs/s" };
    const against = `raw_unary_c${inFlight}`;
    const coalesced = inFlight === 64 ? 3 : 4;
    return [
      judge(samples, { ...line, case: against }),
      judge(samples, {
        ...line,
        case: `unary_c${inFlight}`,
        against,
        target: { of: "ratio", atLeast: 0.75 },
      }),
      judge(samples, {
        ...line,
        case: `unary_c${inFlight}`,
        unit: "us",
        figure: "server_cpu_us",
        against,
        target: { of: "ratio", atMost: 1.6 },
      }),
      judge(samples, {
        ...line,
        case: `sdk_c${inFlight}`,
        against,
        target: { of: "ratio", atLeast: coalesced },
      }),
    ];
  });
}

async function sampled(
  server: Part<Parts["server" | "raw"]>,
  load: () => Promise<LoadResult>,
): Promise<Sample> {
  const before = await server.usage();
  const result = await load();
  const after = await server.usage();
  return {
    value: result.perSecond,
    more: {
      p50_ms: result.p50Ms,
      p99_ms: result.p99Ms,
      server_cpu_us: (after.cpuMicros - before.cpuMicros) / result.count,
    },
  };
}
