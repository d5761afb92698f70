import { openDirectoryObjects } from "#logstore/directory/objects.ts";
import { openRedisLogStore } from "#logstore/redis/open.ts";
import { Writer } from "../conformance/log-model.ts";

// Appends to a log, and says on standard output what was acknowledged, until it kills itself at the wanted step of sealing.
const [url = "", instance = "", folder = "", wanted = "", count = ""] = process.argv.slice(2);
let left = Number(count);
const store = await openRedisLogStore({
  url,
  instance,
  quotaBytesPerAttempt: 200_000,
  liveBytesPerLog: 4_000,
  objects: await openDirectoryObjects(folder),
  async onSealStep(step) {
    if (step === wanted && --left === 0) process.kill(process.pid, "SIGKILL");
  },
});
const writer = new Writer();
process.stdout.write(`${writer.attempt}\n`);
for (;;) {
  const text = `line ${writer.number + 1} `.padEnd(500, ".");
  await store.append(writer.attempt, writer.lines(`${text}\n`));
  process.stdout.write(`${writer.number}\n`);
}
