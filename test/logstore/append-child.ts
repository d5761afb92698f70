import { openFileLogStore } from "#logstore/files/open.ts";
import { Writer } from "../conformance/log-model.ts";

// Appends to several logs until it is killed, and says on standard output which batches were acknowledged.
const [directory = ""] = process.argv.slice(2);
const store = await openFileLogStore({
  directory,
  quotaBytesPerAttempt: 64 * 1024 * 1024,
  segmentBytes: 50_000,
  journalBytes: 100_000,
});

async function write(writer: Writer): Promise<void> {
  for (;;) {
    const text = `${writer.number + 1} of ${writer.attempt}\n`;
    await store.append(writer.attempt, writer.batch(["stdout", text], ["stderr", text]));
    process.stdout.write(`${writer.attempt} ${writer.number}\n`);
    if (writer.number < 200) continue;
    await store.end(writer.attempt, { expiresAt: Date.now() + 3_600_000 });
    process.stdout.write(`${writer.attempt} end\n`);
    return;
  }
}

for (;;) await Promise.all(Array.from({ length: 10 }, () => write(new Writer())));
