import { afterAll, beforeAll } from "vitest";
import { openFileLogStore } from "#logstore/files/open.ts";
import { logStoreConformance } from "../conformance/logstore.ts";
import { FakeS3 } from "../fake/s3.ts";
import { quotaBytesPerAttempt } from "./folder.ts";

let s3: FakeS3;
beforeAll(async () => {
  s3 = await FakeS3.start();
});
afterAll(async () => {
  await s3[Symbol.asyncDispose]();
});

// Archived at once, and deleted here at once.
logStoreConformance("archived file", async (directory) =>
  openFileLogStore({
    directory,
    quotaBytesPerAttempt,
    shipping: {
      objects: await s3.open({ prefix: directory }),
      delayMs: 0,
      localMs: 0,
      localBytes: 0,
    },
  }),
);
