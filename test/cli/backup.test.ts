import { describe, expect, test } from "vitest";
import { HodeiError } from "#error.ts";
import { FakeUser } from "./host.ts";

describe("hodei restore", () => {
  test("says what was restored where", async () => {
    const restored = { directory: "/data", files: 7, createdAt: "2026-01-01T00:00:00.000Z" };
    const user = new FakeUser({ host: { restore: () => Promise.resolve(restored) } });
    expect(await user.run("restore", "backup")).toBe(0);
    expect(user.stdout.text).toBe("/data: 7 files of 2026-01-01T00:00:00.000Z\n");
    const program = new FakeUser({ host: { restore: () => Promise.resolve(restored) } });
    expect(await program.run("restore", "backup", "-o", "json")).toBe(0);
    expect(JSON.parse(program.stdout.text)).toEqual(restored);
  });

  test("ends with 64 and the reason when it cannot", async () => {
    const hint = "move it away";
    const refuse = new HodeiError("failed_precondition", "/data is not empty", { hint });
    const user = new FakeUser({ host: { restore: () => Promise.reject(refuse) } });
    expect(await user.run("restore", "backup")).toBe(64);
    expect(user.stderr.text).toBe("hodei: /data is not empty; move it away\n");
    expect(await user.run("restore")).toBe(64);
  });
});

describe("hodei store copy", () => {
  test("copies from one place to the other and counts", async () => {
    const seen: unknown[] = [];
    const copyStore = async (places: object) => {
      seen.push(places);
      return { jobs: 3, tokens: 1 };
    };
    const user = new FakeUser({ host: { copyStore } });
    expect(await user.run("store", "copy", "--from", "/data", "--to", "redis://r#a")).toBe(0);
    expect(seen).toEqual([{ from: "/data", to: "redis://r#a" }]);
    expect(user.stdout.text).toBe("copied 3 jobs, 1 tokens\n");
    expect(await user.run("store", "copy", "--from", "/data")).toBe(64);
  });
});
