import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import type { Provider } from "#provider/provider.ts";
import { openRegistry } from "../../fake/docker-registry.ts";
import { follow, never, nextId, patience } from "./follow.ts";
import { prepareDocker } from "./ground.ts";
import { specOf } from "./spec.ts";

describe("an image of a registry", () => {
  it("is pulled on first use, and the job's history says so", async () => {
    await using registry = await openRegistry();
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({ pullPolicy: "if_missing" });
    await using events = follow(provider);
    const { image } = registry;
    const ids = [nextId(), nextId()];
    await Promise.all(ids.map((id) => provider.startWorker(specOf(id, { image }), never)));
    for (const id of ids) {
      expect(events.messages(id)).toContain(`pulling image ${image}`);
      // It holds nothing, so no agent comes of it.
      expect((await events.gone(id)).failure).toMatchObject({
        blame: "user",
        cause: "start_failed",
      });
    }
    const told = ids.flatMap((id) => events.messages(id)).join("\n");
    expect(told).toMatch(/pulling image \S+: (asking the registry|\d+ of \d+ layers)/);
    await ground.docker.getImage(image).remove({ force: true });
  });

  it("is had with the credentials that a login has left, and only so", async () => {
    await using registry = await openRegistry({ isPrivate: true });
    await using ground = await prepareDocker();
    await using stranger = await ground.openWith({ pullPolicy: "always" });
    const { image, host, credentials } = registry;
    expect(await failureOf(stranger, image)).toMatchObject({
      stage: "pulling",
      blame: "user",
      evidence: { reason: "ImageDenied" },
    });
    const directory = mkdtempSync(join(tmpdir(), "hodei-test-"));
    const file = join(directory, "config.json");
    const auth = Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64");
    writeFileSync(file, JSON.stringify({ auths: { [host]: { auth } } }));
    await using provider = await ground.openWith({
      pullPolicy: "always",
      registryConfigFile: file,
    });
    await using events = follow(provider);
    const id = nextId();
    await provider.startWorker(specOf(id, { image }), never);
    await events.gone(id);
    rmSync(directory, { recursive: true });
    await ground.docker.getImage(image).remove({ force: true });
  });

  it("that it lacks is the user's to mend", async () => {
    await using registry = await openRegistry();
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({ pullPolicy: "if_missing" });
    expect(await failureOf(provider, `${registry.host}/team/other:1`)).toMatchObject({
      blame: "user",
      evidence: { reason: "ImageNotFound" },
    });
  });

  it("is asked for again where the registry is out of order, until an abort", async () => {
    await using registry = await openRegistry({ isBroken: true });
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({ pullPolicy: "if_missing" });
    await using events = follow(provider);
    const id = nextId();
    const abort = new AbortController();
    const starting = provider.startWorker(specOf(id, { image: registry.image }), abort.signal);
    await vi.waitFor(
      () => expect(events.of(id).at(-1)).toMatchObject({ kind: "failed", canPass: true }),
      patience,
    );
    abort.abort();
    await expect(starting).rejects.toMatchObject({ name: "AbortError" });
    expect(await provider.listWorkers()).toEqual([]);
  });
});

async function failureOf(provider: Provider, image: string): Promise<unknown> {
  const error: unknown = await provider
    .startWorker(specOf(nextId(), { image }), never)
    .catch((thrown: unknown) => thrown);
  return typeof error === "object" && error !== null && "failure" in error ? error.failure : error;
}
