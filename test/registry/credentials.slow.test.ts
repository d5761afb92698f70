import { statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventsOf, folderForTest, kubeconfig, secret, start, stored } from "./ground.ts";

describe("credentials", () => {
  test("are in no answer, no log and no file, and are there after a restart", async () => {
    const folder = folderForTest();
    const first = await start(folder);
    const made = await first.client.providers.register({
      name: "far",
      type: "kubernetes",
      config: { namespace: "builds" },
      credentials: { kubeconfig: kubeconfig() },
    });
    expect(made).toMatchObject({ hasCredentials: true, config: { namespace: "builds" } });
    const seen = [
      JSON.stringify(made),
      JSON.stringify(await first.client.providers.list()),
      JSON.stringify(await eventsOf(first.client, "far")),
    ];
    await first.stop();
    expect(stored(folder).includes(secret)).toBe(false);
    expect(statSync(join(folder, "data/encryption.key")).mode & 0o777).toBe(0o600);

    const again = await start(folder);
    const found = await again.client.providers.get("far");
    expect(found).toMatchObject({ hasCredentials: true, health: "unhealthy" });
    // It was read, since what is missing is the cluster.
    expect(found.reason).not.toContain("credentials");
    const emptied = await again.client.providers
      .update("far", { credentials: undefined })
      .catch((error: Error) => error);
    expect(emptied).toMatchObject({ code: "INVALID_ARGUMENT" });
    await again.stop();
    expect(
      [...seen, ...first.logged, ...again.logged].filter((text) => text.includes(secret)),
    ).toEqual([]);
  });

  test("that another key sealed leave the provider unhealthy, and the server running", async () => {
    const folder = folderForTest();
    const first = await start(folder);
    const credentials = { kubeconfig: kubeconfig() };
    await first.client.providers.register({ name: "far", type: "kubernetes", credentials });
    await first.stop();
    const { client } = await start(folder, {
      HODEI_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString("base64"),
    });
    expect(await client.providers.get("far")).toMatchObject({
      health: "unhealthy",
      reason: expect.stringContaining("cannot be read with this key"),
    });
    await client.providers.update("far", { credentials });
    const { reason } = await client.providers.get("far");
    expect(reason).toBeDefined();
  });
});
