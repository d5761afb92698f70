import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { HodeiClient } from "#client/client.ts";
import { WorkerServiceService } from "#rpc/gen/hodei/v1/worker_service.ts";
import { Channel } from "#client/channel.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import { newWorker, workerId } from "../conformance/store/make.ts";
import { adminToken, startHarness } from "./harness.ts";

test("no page of workers ends at one of another tenant (DESIGN G16)", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hodei-pages-"));
  const store = await openSqliteStore({ path: join(folder, "store.db") });
  const harness = await startHarness({ store });
  const classKey = JSON.stringify(["", 0, 0, 0, 0, "", "", false]);
  // More of theirs between ours than the store looks at in one go.
  const ours = [1, 2_102].map(workerId);
  const all = Array.from({ length: 2_102 }, (_, index) => {
    const tenant = ours.includes(workerId(index + 1)) ? "ours" : "theirs";
    return newWorker(index + 1, { tenant, classKey });
  });
  await store.planWorkers(all, Date.now());
  await using admin = new HodeiClient({ address: harness.address, token: adminToken });
  const { secret } = await admin.tokens.create({ subject: "a", tenant: "ours", role: "viewer" });
  const channel = new Channel({ address: harness.address, token: secret });
  const seen: string[] = [];
  for (let pageToken = "", hasMore = true; hasMore;) {
    const request = { states: [], provider: "", pageSize: 1, pageToken };
    const answer = await channel.call(WorkerServiceService.listWorkers, request);
    seen.push(...answer.workers.map(({ id }) => id));
    pageToken = answer.nextPageToken;
    hasMore = pageToken !== "";
    if (hasMore) expect(ours).toContain(pageToken);
  }
  expect(seen).toEqual(ours.toReversed());
  channel.close();
  await harness[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});
