import { lstat, stat } from "node:fs/promises";
import { join } from "node:path";
import { HodeiError } from "#error.ts";

/** What the parts of a server keep in its folder, each in one of its own. */
const folders = ["logs", "processes", "tls"] as const;

/** Says by the variable's name what stands in the way of one of them, before a part fails on it with the system's words. */
export async function checkFolders(directory: string): Promise<void> {
  for (const name of folders) {
    const path = join(directory, name);
    const found = await stat(path).catch(() => undefined);
    const isThere = found !== undefined || (await lstat(path).catch(() => undefined)) !== undefined;
    if (!isThere || found?.isDirectory() === true) continue;
    const text = `HODEI_DATA_DIRECTORY: ${path} is in the way, where a folder has to be`;
    throw new HodeiError("invalid_argument", text);
  }
}
