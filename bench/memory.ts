import { judgeValue, type Question, type Result } from "./harness.ts";
import { startPart } from "./part.ts";

export const question: Question = {
  name: "memory",
  asks: "How many bytes of the server's memory does a queued job of 1 KB take?",
  run,
};

/** These pay for code, pools and SQLite's page cache, which do not grow any more. */
const first = 150_000;
const count = 150_000;
const specBytes = 1_000;

async function run(): Promise<readonly Result[]> {
  await using server = await startPart("server");
  await using sdk = await startPart("sdk");
  const { address } = await server.call("start", {});
  const load = { address, specBytes, inFlight: 512, withoutKeys: true };
  await sdk.call("submitMany", { ...load, count: first });
  const before = await server.call("memory");
  await sdk.call("submitMany", { ...load, count });
  const after = await server.call("memory");
  return [
    judgeValue(
      {
        bench: "memory",
        case: "queued_job",
        value: (after.rssBytes - before.rssBytes) / count,
        unit: "bytes/job",
        more: {
          heap_bytes_per_job: (after.heapBytes - before.heapBytes) / count,
          rss_mb: after.rssBytes / 1e6,
        },
        note: "resident growth of the whole server; the spec is on disk",
      },
      { of: "value", atMost: 120 },
    ),
  ];
}
