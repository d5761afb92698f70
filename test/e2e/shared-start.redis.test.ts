import { join } from "node:path";
import { writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { expect, onTestFinished, test } from "vitest";
import { startFleet } from "./fleet.ts";

test("servers that start on an empty store at the same moment all come up, with one record for each provider", async () => {
  const directory = mkdtempSync(join(tmpdir(), "hodei-providers-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, "providers.yaml");
  const names = Array.from({ length: 8 }, (_, at) => `file-${at}`);
  writeFileSync(file, names.map((name) => `- { name: ${name}, type: process }\n`).join(""));
  const fleet = await startFleet(4, {
    HODEI_PROVIDERS_FILE: file,
    HODEI_PROCESS_ENABLED: "1",
  });
  for (const at of fleet.servers.keys()) {
    const listed = await fleet.client(at).providers.list();
    expect(listed.map(({ name }) => name).toSorted()).toEqual([...names, "process"]);
  }
});
