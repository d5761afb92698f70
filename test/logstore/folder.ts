import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** An empty folder that goes away with the test. */
export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "hodei-logstore-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export const quotaBytesPerAttempt = 64 * 1024 * 1024;
export const later = Date.now() + 3_600_000;

/** Collects warnings. */
export function newWarnings() {
  const messages: string[] = [];
  return { messages, warn: (_: object, message: string) => void messages.push(message) };
}
