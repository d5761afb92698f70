import { describe, expect, it, vi } from "vitest";
import { follow, never, nextId, patience, reported, start } from "./follow.ts";
import { prepareDocker } from "./ground.ts";
import { specOf } from "./spec.ts";

describe("the end of a container", () => {
  it("tells that memory ran out, from the engine's own words", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({}, "eats");
    await using events = follow(provider);
    const { workerId } = await start(provider);
    const gone = await events.gone(workerId);
    expect(gone.failure).toMatchObject({
      cause: "out_of_memory",
      blame: "user",
      evidence: { exit_code: "137", killed: "agent" },
    });
  });

  it("tells that memory ran out for a child, while the worker goes on", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({}, "child eats");
    await using events = follow(provider);
    const { workerId, uid } = await start(provider);
    await vi.waitFor(
      () => expect(events.messages(workerId).join("\n")).toContain("out of its memory"),
      patience,
    );
    expect(await provider.confirmDead(workerId, uid)).toBe("alive");
    await provider.stopWorker(workerId, 0);
    expect((await events.gone(workerId)).failure).toBeUndefined();
  });

  it("blames the image for a program that is not in it", async () => {
    await using ground = await prepareDocker();
    const { docker, image } = ground;
    const made = await docker.createContainer({ Image: image, Entrypoint: ["/no/such"] });
    await made.commit({ repo: "hodei-test-empty", tag: "1", changes: 'ENTRYPOINT ["/no/such"]' });
    await made.remove();
    await using provider = await ground.openWith({});
    await using events = follow(provider);
    const workerId = nextId();
    const spec = specOf(workerId, { image: "hodei-test-empty:1" });
    // With tini as process 1 the engine can start it, and tini cannot go on.
    await provider.startWorker(spec, never);
    expect((await events.gone(workerId)).failure).toMatchObject({
      cause: "start_failed",
      blame: "user",
      userCodeMayHaveRun: false,
    });
    await docker.getImage("hodei-test-empty:1").remove({ force: true });
  });

  it("a container that somebody removes is gone, and that is no end on purpose", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({});
    await using events = follow(provider);
    const { workerId, uid } = await start(provider);
    await ground.docker.getContainer(uid).remove({ force: true });
    const { failure } = await events.gone(workerId);
    expect(["worker_died", "worker_stopped"]).toContain(failure?.cause);
    expect(events.of(workerId).filter(({ kind }) => kind === "gone")).toHaveLength(1);
  });

  it("after a restart it tells of those that ended meanwhile, and removes them", async () => {
    await using ground = await prepareDocker();
    const old = await ground.openWith({});
    const { workerId, uid } = await start(old);
    await reported(ground, workerId);
    await old[Symbol.asyncDispose]();
    await ground.kill(workerId);
    await using provider = await ground.openWith({});
    await vi.waitFor(async () => {
      expect(await provider.listWorkers()).toEqual([{ id: workerId, uid, isRunning: false }]);
    }, patience);
    expect(await provider.confirmDead(workerId, uid)).toBe("dead");
    await using events = follow(provider);
    expect((await events.gone(workerId)).failure).toMatchObject({
      cause: "worker_died",
      evidence: { signal: "SIGKILL" },
    });
    expect(await provider.listWorkers()).toEqual([]);
  });

  it("keeps what a worker printed after its end", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({});
    await using events = follow(provider);
    const { workerId, uid } = await start(provider);
    await reported(ground, workerId);
    const live = Buffer.from((await provider.readTail?.(workerId, uid)) ?? []).toString();
    expect(live).toMatch(/^REPORT /);
    await ground.kill(workerId);
    await events.gone(workerId);
    expect(Buffer.from((await provider.readTail?.(workerId, uid)) ?? []).toString()).toBe(live);
    expect(await provider.readTail?.(workerId, "0".repeat(64))).toBeUndefined();
  });

  it("ends a worker whose longest life is over", async () => {
    await using ground = await prepareDocker();
    const old = await ground.openWith({});
    const workerId = nextId();
    await old.startWorker(specOf(workerId, { maxLifetimeMs: 1 }), never);
    await old[Symbol.asyncDispose]();
    await using provider = await ground.openWith({});
    await using events = follow(provider);
    const { failure } = await events.gone(workerId);
    expect(failure).toMatchObject({ cause: "worker_stopped", blame: "system" });
  });
});
