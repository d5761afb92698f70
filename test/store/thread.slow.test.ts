import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { openSqliteStore } from "#store/sqlite/open.ts";
import { storeConformance } from "../conformance/store.ts";

const folder = mkdtempSync(join(tmpdir(), "hodei-store-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let stores = 0;
storeConformance("sqlite, on its thread,", () =>
  openSqliteStore({ path: join(folder, `${++stores}.db`) }),
);
