import { openFarm } from "./farm.ts";
import {
  judge,
  judgeValue,
  type Question,
  type Result,
  type RunOptions,
  takeTurns,
} from "./harness.ts";
import { startPart } from "./part.ts";
import { median } from "./parts/spin.ts";

export const question: Question = {
  name: "fanout",
  asks: "How fast do ten followers get one log that is being written, against forwarding it naively?",
  run,
};

const ms = 800;
const followers = 10;
const recordBytes = 65_000;

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  await using stack = new AsyncDisposableStack();
  const [writer, reader, raw] = [
    stack.use(await startPart("client")),
    stack.use(await startPart("client")),
    stack.use(await startPart("raw")),
  ];
  const address = await raw.call("start", {});
  const farm = await openFarm(stack, { seats: 1, slots: 1, holds: true });
  const lost: number[] = [];
  const naive = async () => {
    await reader.call("follow", { address, followers });
    await raw.call("sent");
    const before = await raw.usage();
    const startedAt = performance.now();
    await writer.call("upload", { address, batchBytes: recordBytes, ms });
    const sent = (await raw.call("sent")) * followers;
    await reader.call("followed", sent);
    return outcome(sent, performance.now() - startedAt, before, await raw.usage());
  };
  const ours = async () => {
    const { sdk, agents, server } = farm;
    await sdk.call("submitMany", { address: farm.address, count: 1, specBytes: 10, inFlight: 1 });
    const [job] = await agents.call("held", 1);
    await sdk.call("follow", { address: farm.address, followers, jobId: job?.jobId ?? "" });
    const before = await server.usage();
    const startedAt = performance.now();
    const { bytes } = await agents.call("push", {
      ms,
      records: 1,
      recordBytes,
      maxBytes: 900_000_000,
    });
    await sdk.call("followedAtLeast", bytes * followers);
    const sample = outcome(
      bytes * followers,
      performance.now() - startedAt,
      before,
      await server.usage(),
    );
    await agents.call("release");
    const got = await sdk.call("followed");
    lost.push(bytes * followers - got);
    return sample;
  };
  const samples = await takeTurns(
    [
      { name: "naive_f10", measure: naive },
      { name: "hodei_f10", measure: ours },
    ],
    rounds,
  );
  const line = { bench: "fanout", unit: "MB/s out" };
  return [
    judge(samples, { ...line, case: "naive_f10" }),
    judge(samples, {
      ...line,
      case: "hodei_f10",
      against: "naive_f10",
      target: { of: "ratio", atLeast: 1.7 },
    }),
    judge(samples, {
      ...line,
      case: "hodei_f10",
      unit: "us/MB",
      figure: "server_cpu_us_per_mb",
      against: "naive_f10",
      target: { of: "value", atMost: 1_600 },
    }),
    judgeValue(
      { bench: "fanout", case: "hodei_f10:lost", value: median(lost.map(Math.abs)), unit: "bytes" },
      { of: "value", atMost: 0 },
    ),
  ];
}

function outcome(
  bytes: number,
  elapsedMs: number,
  before: { cpuMicros: number },
  after: { cpuMicros: number },
) {
  return {
    value: bytes / 1e6 / (elapsedMs / 1000),
    more: { server_cpu_us_per_mb: (after.cpuMicros - before.cpuMicros) / (bytes / 1e6) },
  };
}
