import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { FakeS3, keysOf } from "../fake/s3.ts";
import { outputOf } from "./ledger.ts";
import { clientForTest, startForTest } from "./server-process.ts";

const jobs = 12;

test("logs are read from the bucket whole, also when the server is killed while it moves them there", async () => {
  const s3 = await FakeS3.start();
  onTestFinished(() => s3[Symbol.asyncDispose]());
  const server = await startForTest({
    HODEI_PROCESS_MAX_WORKERS: "4",
    HODEI_LOG_ARCHIVE: "s3",
    HODEI_LOG_ARCHIVE_DELAY_MS: "0",
    HODEI_LOG_ARCHIVE_LOCAL_MS: "0",
    HODEI_S3_BUCKET: s3.options.bucket,
    HODEI_S3_ENDPOINT: s3.options.endpoint,
    HODEI_S3_ACCESS_KEY_ID: s3.options.accessKeyId,
    HODEI_S3_SECRET_ACCESS_KEY: s3.options.secretAccessKey,
  });
  const client = clientForTest(server);
  const ids: string[] = [];
  for (let job = 0; job < jobs; job++) {
    const script = 'i=0; while [ $i -lt 200 ]; do echo "$HODEI_JOB_ID $i"; i=$((i+1)); done';
    ids.push((await client.submit({ script })).id);
  }
  for (const [at, id] of ids.entries()) {
    await client.wait(id);
    if (at % 4 !== 1) continue;
    await server.end("SIGKILL");
    await server.start();
  }
  const archive = join(server.env["HODEI_DATA_DIRECTORY"] ?? "", "logs", "archive");
  const packs = () => readdirSync(archive).filter((name) => name.endsWith(".pack")).length;
  await expect.poll(packs, { timeout: 60_000 }).toBe(0);
  const objects = await s3.open({ prefix: "hodei/logs" });
  expect((await keysOf(objects)).length).toBeGreaterThan(0);
  for (const id of ids) {
    const whole = Array.from({ length: 200 }, (_, line) => `${id} ${line}\n`).join("");
    expect(await outputOf(client, id)).toEqual({ text: whole, gaps: 0 });
  }
  expect(await server.readMetrics()).toMatch(/hodei_log_archive_reachable\{?.*\}? 1/);
  s3.fault = "refused";
  const [id = ""] = ids;
  await expect(outputOf(clientForTest(server), id)).rejects.toThrow("s3://hodei/hodei/logs");
});
