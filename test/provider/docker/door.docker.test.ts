import { describe, expect, it, vi } from "vitest";
import { StartError } from "#provider/provider.ts";
import { DockerDoor } from "../../fake/docker-door.ts";
import { follow, never, nextId, patience, reported, start } from "./follow.ts";
import { prepareDocker } from "./ground.ts";
import { specOf } from "./spec.ts";

describe("an engine that is lost for a while", () => {
  it("tells afterwards what happened meanwhile, and workers do not notice", async () => {
    await using door = await DockerDoor.open();
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({ host: door.host });
    await using events = follow(provider);
    const [one, other] = [await start(provider), await start(provider)];
    await reported(ground, one.workerId);
    await door.shut();
    expect(await provider.health()).toMatchObject({ state: "unhealthy" });
    expect(await provider.confirmDead(one.workerId, one.uid)).toBe("unknown");
    await ground.kill(one.workerId);
    await door.reopen();
    expect((await events.gone(one.workerId)).failure).toMatchObject({
      cause: "worker_died",
      evidence: { signal: "SIGKILL" },
    });
    expect(await provider.confirmDead(other.workerId, other.uid)).toBe("alive");
    expect(events.of(other.workerId).map(({ kind }) => kind)).toEqual(["stage"]);
    expect(await provider.health()).toMatchObject({ state: "healthy" });
    // And the events are followed again.
    await ground.kill(other.workerId);
    expect((await events.gone(other.workerId)).failure).toMatchObject({ cause: "worker_died" });
  });

  it.for([
    ["the container was made", /^POST \/containers\/create/, false],
    ["the container was started", /^POST \/containers\/\w+\/start/, true],
  ] as const)(
    "when nobody answers whether %s, it is not said that there is none, or there is none",
    async ([, request, isRemoved]) => {
      await using door = await DockerDoor.open();
      await using ground = await prepareDocker();
      await using provider = await ground.openWith({ host: door.host });
      const id = nextId();
      door.cutNext(request);
      const error: unknown = await provider
        .startWorker(specOf(id), never)
        .catch((thrown: unknown) => thrown);
      expect(error instanceof StartError).toBe(isRemoved);
      if (!isRemoved) {
        expect(await provider.listWorkers()).toMatchObject([{ id, isRunning: false }]);
        await provider.stopWorker(id, 0);
      }
      await vi.waitFor(async () => expect(await provider.listWorkers()).toEqual([]), patience);
      expect(await ground.remains(id)).toEqual([]);
    },
  );
});
