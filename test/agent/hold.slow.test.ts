import { existsSync, readdirSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import type { JobSpec } from "#job/job.ts";
import type { Script } from "../fake/server.ts";
import { alive, sh, started } from "./agent-process.ts";

const leavesFiles = sh("setsid sleep 600 & echo $! $PWD; echo kept > file; exit 3");

/** A worker for one job, and that job. */
async function running(spec: Partial<JobSpec>, script: Partial<Script> = {}) {
  const run = await started({ maxJobs: 1, ...script });
  await run.server.connected();
  run.server.assign("a1", spec);
  return run;
}

describe("a worker whose only job failed", () => {
  it("is kept with its files and without its processes, and leaves when it is stopped", async () => {
    await using held = await running({ ...leavesFiles, holdMs: 60_000 });
    const { server, agent } = held;
    expect(await server.result("a1")).toMatchObject({ exitCode: 3 });
    const [pid, directory = ""] = server.output("a1").toString().trim().split(" ");
    await vi.waitFor(() => expect(alive(Number(pid))).toBe(false), { timeout: 5_000 });
    const renewals = server.events.filter(({ $case }) => $case === "renewal").length;
    await server.seen("renewal", renewals + 3);
    expect(readdirSync(directory)).toEqual(["file"]);
    expect(agent.log).toContain(`"directory":"${directory}","holdSeconds":60`);
    agent.child.kill("SIGTERM");
    expect(await agent.ended()).toBe(0);
    expect(existsSync(directory)).toBe(false);
    expect(server.events.at(-1)?.value).toEqual({ reason: "terminated" });
  });

  it("leaves when its time has passed, or when it is drained", async () => {
    await using timed = await running({ ...sh("exit 3"), holdMs: 300 });
    await using drained = await running({ ...sh("exit 3"), holdMs: 60_000 });
    await vi.waitFor(() => expect(drained.agent.log).toContain("is kept"), { timeout: 5_000 });
    drained.server.send({ $case: "drain", value: { reason: "" } });
    expect(await Promise.all([timed.agent.ended(), drained.agent.ended()])).toEqual([0, 0]);
    expect(timed.agent.log).toContain("is kept");
    expect(timed.server.events.at(-1)?.value).toEqual({ reason: "done" });
    expect(drained.server.events.at(-1)?.value).toEqual({ reason: "drained" });
  });

  it("is not kept when it succeeded, was cancelled, was no longer its own, or may run more", async () => {
    await using succeeded = await running({ ...sh("true"), holdMs: 60_000 });
    await using cancelled = await running({ ...sh("sleep 600"), holdMs: 60_000 });
    await cancelled.server.seen("started");
    cancelled.server.cancel("a1", 100);
    const acknowledgesResults = false;
    await using fenced = await running(
      { ...sh("exit 3"), holdMs: 60_000 },
      { acknowledgesResults },
    );
    await fenced.server.result("a1");
    fenced.server.send({ $case: "resultAck", value: { attemptId: "a1", fenced: true } });
    const codes = [succeeded, cancelled, fenced].map(({ agent }) => agent.ended());
    expect(await Promise.all(codes)).toEqual([0, 0, 0]);
    for (const { server } of [succeeded, cancelled, fenced]) {
      expect(server.events.at(-1)?.value).toEqual({ reason: "done" });
    }
    await using reused = await running({ ...sh("exit 3"), holdMs: 60_000 }, { maxJobs: 2 });
    await reused.server.result("a1");
    reused.server.assign("a2", sh("true"));
    expect(await reused.agent.ended()).toBe(0);
  });
});
