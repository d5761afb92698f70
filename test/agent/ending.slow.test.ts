import { readdirSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import { Cause } from "#rpc/gen/hodei/v1/job.ts";
import { alive, sh, started } from "./agent-process.ts";

describe("ending", () => {
  it("ends when its process does, also when others hold its pipes", async () => {
    await using run = await started();
    await run.server.connected();
    run.server.assign("a1", sh("setsid sleep 600 & echo $!"));
    expect(await run.server.result("a1")).toMatchObject({ exitCode: 0 });
    const pid = Number(run.server.output("a1").toString());
    await vi.waitFor(() => expect(alive(pid)).toBe(false), { timeout: 5_000 });
  });

  it("a fenced attempt is killed at once, and nothing more is said of it", async () => {
    await using run = await started();
    await run.server.connected();
    run.server.assign("a1", sh("trap '' TERM; echo $$; while :; do sleep 0.1; done"));
    await vi.waitFor(() => expect(run.server.output("a1").length).toBeGreaterThan(0));
    const pid = Number(run.server.output("a1").toString());
    run.server.send({ $case: "fenced", value: { attemptId: "a1" } });
    const acks = () => run.server.events.filter(({ $case }) => $case === "fenceAck");
    await vi.waitFor(() => expect(acks()).toHaveLength(1), 9_000);
    // What it says is so when it says it.
    expect(alive(pid)).toBe(false);
    expect(acks()[0]?.value).toEqual({ attemptId: "a1", mayHaveRun: true });
    run.server.send({ $case: "fenced", value: { attemptId: "never-here" } });
    await vi.waitFor(() => expect(acks()).toHaveLength(2), 9_000);
    expect(acks()[1]?.value).toEqual({ attemptId: "never-here", mayHaveRun: false });
    run.server.assign("a2", sh("true"));
    await run.server.result("a2");
    expect(run.server.resultsOf("a1")).toEqual([]);
  });

  it("SIGTERM ends the jobs, reports them and leaves", async () => {
    await using run = await started();
    await run.server.connected();
    run.server.assign("a1", sh("sleep 600"));
    await run.server.seen("started");
    run.agent.child.kill("SIGTERM");
    expect(await run.agent.ended()).toBe(0);
    const [result] = run.server.resultsOf("a1");
    expect(result?.failure?.cause).toBe(Cause.CAUSE_WORKER_STOPPED);
    expect(run.server.events.at(-1)?.$case).toBe("goodbye");
    expect(readdirSync(run.agent.workRoot)).toEqual([]);
  });

  it("a second SIGTERM kills", async () => {
    await using run = await started({}, { HODEI_AGENT_STOP_GRACE_MS: "60000" });
    await run.server.connected();
    run.server.assign("a1", {
      ...sh("trap '' TERM; echo up; while :; do sleep 0.1; done"),
      cancelGraceMs: 60_000,
    });
    await vi.waitFor(() => expect(run.server.output("a1").length).toBeGreaterThan(0));
    run.agent.child.kill("SIGTERM");
    await vi.waitFor(() => expect(run.agent.log).toContain("asked to stop"));
    run.agent.child.kill("SIGTERM");
    expect(await run.agent.ended()).toBe(0);
    expect(run.server.resultsOf("a1")[0]).toMatchObject({ signal: 9 });
  });

  it("leaves after its last job, when it is drained, and when it is idle for too long", async () => {
    await using once = await started({ maxJobs: 1 });
    await once.server.connected();
    once.server.assign("a1", sh("true"));
    await using drained = await started();
    await drained.server.connected();
    drained.server.send({ $case: "drain", value: { reason: "" } });
    await using idle = await started({ idleTimeoutMs: 50 });
    const codes = [once, drained, idle].map(({ agent }) => agent.ended());
    expect(await Promise.all(codes)).toEqual([0, 0, 0]);
    const reasons = [once, drained, idle].map(({ server }) => server.events.at(-1)?.value);
    expect(reasons).toEqual([{ reason: "done" }, { reason: "drained" }, { reason: "idle" }]);
  });
});

describe("without contact", () => {
  it("a job goes on, and its log and its result come whole when the server is back", async () => {
    await using run = await started({ acknowledgesResults: false, creditBytes: 4096 });
    await run.server.connected();
    run.server.assign(
      "a1",
      sh("for i in $(seq 1 400); do echo line $i; [ $((i % 20)) = 0 ] && sleep 0.02; done; true"),
    );
    await vi.waitFor(() => expect(run.server.batches.length).toBeGreaterThan(2));
    run.server.drop();
    await run.server.comeBack();
    await run.server.result("a1");
    run.server.drop();
    run.server.script.creditBytes = 1024 * 1024;
    await run.server.comeBack();
    await vi.waitFor(() => expect(run.server.resultsOf("a1").length).toBeGreaterThan(1), {
      timeout: 9_000,
    });
    const expected = Array.from({ length: 400 }, (_, i) => `line ${i + 1}\n`).join("");
    await vi.waitFor(() => expect(run.server.output("a1").toString()).toBe(expected), {
      timeout: 5_000,
    });
    run.server.send({ $case: "resultAck", value: { attemptId: "a1", fenced: false } });
    run.server.send({ $case: "drain", value: { reason: "" } });
    expect(await run.agent.ended()).toBe(0);
  });

  it("stops its job when the tolerance has passed since the last acknowledged renewal was sent", async () => {
    await using run = await started({ acknowledgesRenewals: true });
    await run.server.connected();
    run.server.assign("a1", { ...sh("sleep 600"), disconnectToleranceMs: 300 });
    await run.server.seen("started");
    run.server.script.acknowledgesRenewals = false;
    const result = await run.server.result("a1");
    expect(result.failure?.cause).toBe(Cause.CAUSE_SELF_STOPPED);
  });

  it("a job with a tolerance far below the pause between renewals runs all the same", async () => {
    await using run = await started({ renewMs: 60_000 });
    await run.server.connected();
    await vi.waitFor(() => expect(run.server.silentMs()).toBeGreaterThan(1_250), 5_000);
    run.server.assign("a1", { ...sh("sleep 2.5"), disconnectToleranceMs: 1_000 });
    expect(await run.server.result("a1")).toMatchObject({ exitCode: 0 });
  });

  it("leaves when it has nothing to run and its tolerance has passed", async () => {
    await using run = await started({}, { HODEI_DISCONNECT_TOLERANCE_MS: "400" });
    await run.server.connected();
    run.server.drop();
    expect(await run.agent.ended()).toBe(69);
  });

  it("holds a noisy job up when memory and disk are full, and loses nothing", async () => {
    const bounds = {
      HODEI_AGENT_LOG_MEMORY_BYTES: "100000",
      HODEI_AGENT_LOG_SPOOL_BYTES: "400000",
    };
    await using run = await started({ creditBytes: 1, acknowledgesLogs: true }, bounds);
    await run.server.connected();
    run.server.assign("a1", sh("head -c 5000000 /dev/zero; echo done >&2"));
    await run.server.seen("started");
    const peak = async (): Promise<number> => {
      const from = run.server.events.length;
      await vi.waitFor(() => expect(run.server.events.length).toBeGreaterThan(from + 3));
      const last = run.server.events.findLast(({ $case }) => $case === "renewal");
      return last?.$case === "renewal" ? (last.value.usage[0]?.usage?.outputBytes ?? 0) : 0;
    };
    let before = -1;
    await vi.waitFor(async () => {
      const now = await peak();
      const isStill = now === before && now > 0;
      before = now;
      expect(isStill).toBe(true);
    }, 9_000);
    expect(before).toBeLessThan(1_500_000);
    expect(run.server.resultsOf("a1")).toEqual([]);
    run.server.grant(10_000_000);
    await run.server.result("a1");
    await vi.waitFor(() => expect(run.server.output("a1").length).toBe(5_000_000), {
      timeout: 5_000,
    });
  });
});
