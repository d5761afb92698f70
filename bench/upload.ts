import { openFarm } from "./farm.ts";
import { judge, type Question, type Result, type RunOptions, takeTurns } from "./harness.ts";
import { startPart } from "./part.ts";

export const question: Question = {
  name: "upload",
  asks: "What does a stored log cost against one that is thrown away, near and over a link of 10 ms?",
  run,
};

const ms = 700;
/** A record of nearly the largest size, alone in its batch; and lines of 100 bytes. */
const block = { ms, records: 1, recordBytes: 65_000 };
const lines = { ms, records: 650, recordBytes: 100 };

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  await using stack = new AsyncDisposableStack();
  const [client, plain, wide, link] = [
    stack.use(await startPart("client")),
    stack.use(await startPart("raw")),
    stack.use(await startPart("raw")),
    stack.use(await startPart("link")),
  ];
  const roundTripMs = 10;
  const plainAt = await plain.call("start", {});
  const wideAt = await wide.call("start", { isWide: true });
  const farPlainAt = await link.call("start", { target: plainAt, roundTripMs });
  const farWideAt = await link.call("start", { target: wideAt, roundTripMs });
  const near = await openFarm(stack, { seats: 1, slots: 1, holds: true });
  const far = await openFarm(stack, { seats: 1, slots: 1, holds: true, roundTripMs });
  const raw = (address: string) => async () => ({
    value: (await client.call("upload", { address, batchBytes: block.recordBytes, ms })) / 1e6,
  });
  const stored = (farm: typeof near, load: typeof block) => async () => {
    await farm.sdk.call("submitMany", {
      address: farm.address,
      count: 1,
      specBytes: 10,
      inFlight: 1,
    });
    await farm.agents.call("held", 1);
    const { bytesPerSecond } = await farm.agents.call("push", load);
    await farm.agents.call("release");
    return { value: bytesPerSecond / 1e6 };
  };
  const samples = await takeTurns(
    [
      { name: "discard_default", measure: raw(plainAt) },
      { name: "discard_wide", measure: raw(wideAt) },
      { name: "stored", measure: stored(near, block) },
      { name: "stored_lines", measure: stored(near, lines) },
      { name: "far_discard_default", measure: raw(farPlainAt) },
      { name: "far_discard_wide", measure: raw(farWideAt) },
      { name: "far_stored", measure: stored(far, block) },
    ],
    rounds,
  );
  const line = { bench: "upload", unit: "MB/s" };
  const atLeast = (than: number) => ({ of: "ratio", atLeast: than }) as const;
  return [
    judge(samples, { ...line, case: "discard_default" }),
    judge(samples, { ...line, case: "discard_wide", against: "discard_default" }),
    judge(samples, { ...line, case: "stored", against: "discard_wide", target: atLeast(0.9) }),
    judge(samples, { ...line, case: "stored", against: "discard_default", target: atLeast(1.4) }),
    judge(samples, { ...line, case: "stored_lines", against: "discard_wide" }),
    judge(samples, { ...line, case: "far_discard_default" }),
    judge(samples, { ...line, case: "far_discard_wide", against: "far_discard_default" }),
    judge(samples, {
      ...line,
      case: "far_stored",
      against: "far_discard_default",
      target: atLeast(25),
    }),
  ];
}
