import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parseConfig } from "#config.ts";
import { createMetrics } from "#metrics.ts";
import { openRegistry } from "#server-records.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import type { NewProvider, Store } from "#store/store.ts";
import { createLogger } from "#telemetry.ts";
import { plainTerms, providerIdOf } from "#worker/provider-record.ts";

test("a server that starts together with another one takes the records that this has just made", async () => {
  const directory = mkdtempSync(join(tmpdir(), "hodei-race-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const store = openMemoryStore();
  const theirs: NewProvider = {
    ...plainTerms,
    id: providerIdOf(Buffer.alloc(8, 1)),
    name: "process",
    type: "process",
    source: "env",
    config: {},
    secret: undefined,
  };
  const shared: Store = {
    ...store,
    async findProvider(name) {
      const found = await store.findProvider(name);
      // The other one is there in between.
      if (found === undefined) await store.addProvider(theirs, 1);
      return found;
    },
  };
  const { config } = parseConfig({ HODEI_PROCESS_ENABLED: "1" });
  const log = createLogger("silent");
  const metrics = createMetrics();
  const ground = { config, store: shared, env: {}, directory, log, metrics };
  await using registry = await openRegistry(ground);
  expect(registry.providers.map(({ name }) => name)).toEqual(["process"]);
  expect((await store.findProvider("process"))?.id).toBe(theirs.id);
});
