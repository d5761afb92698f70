import { openFarm } from "./farm.ts";
import { judge, type Question, type Result, type RunOptions, takeTurns } from "./harness.ts";
import { startPart } from "./part.ts";

export const question: Question = {
  name: "records",
  asks: "How many log lines of 100 bytes are stored in a second, against messages of a hundred records that are thrown away?",
  run,
};

const ms = 800;
const inBatch = 100;

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  await using stack = new AsyncDisposableStack();
  const client = stack.use(await startPart("client"));
  const raw = stack.use(await startPart("raw"));
  const address = await raw.call("start", { decodes: true });
  const farm = await openFarm(stack, { seats: 1, slots: 1, holds: true });
  const samples = await takeTurns(
    [
      {
        name: "discard_batch100",
        measure: async () => ({ value: await client.call("records", { address, inBatch, ms }) }),
      },
      {
        name: "stored_batch100",
        measure: async () => {
          await farm.sdk.call("submitMany", {
            address: farm.address,
            count: 1,
            specBytes: 10,
            inFlight: 1,
          });
          await farm.agents.call("held", 1);
          const load = { ms, records: inBatch, recordBytes: 100 };
          const { recordsPerSecond } = await farm.agents.call("push", load);
          await farm.agents.call("release");
          return { value: recordsPerSecond };
        },
      },
    ],
    rounds,
  );
  const line = { bench: "records", unit: "records/s" };
  return [
    judge(samples, { ...line, case: "discard_batch100" }),
    judge(samples, {
      ...line,
      case: "stored_batch100",
      against: "discard_batch100",
      target: { of: "ratio", atLeast: 0.6 },
    }),
  ];
}
