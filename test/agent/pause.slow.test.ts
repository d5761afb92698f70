import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { Cause } from "#rpc/gen/hodei/v1/job.ts";
import { alive, sh, started } from "./agent-process.ts";

const toleranceMs = 400;
/** A job whose file shows that time passes while the agent is stopped. */
const ticking = (file: string) => sh(`echo $$; while :; do echo x >> ${file}; sleep 0.1; done`);
const ticks = (file: string): number => (existsSync(file) ? readFileSync(file).length / 2 : 0);

async function ground() {
  const directory = mkdtempSync(join(tmpdir(), "hodei-pause-"));
  const run = await started();
  await run.server.connected();
  const file = join(directory, "ticks");
  return {
    ...run,
    file,
    /** Stops the agent for longer than the tolerance, and does `meanwhile` before it goes on. */
    async pause(meanwhile: () => void): Promise<void> {
      run.agent.child.kill("SIGSTOP");
      const from = ticks(file);
      await vi.waitFor(() => expect(ticks(file)).toBeGreaterThan(from + 8), 9_000);
      meanwhile();
      run.agent.child.kill("SIGCONT");
    },
    async [Symbol.asyncDispose]() {
      run.agent.child.kill("SIGCONT");
      await run[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

describe("an agent that was stopped for longer than the tolerance", () => {
  it("stops its job when it goes on", async () => {
    await using paused = await ground();
    const { server, file } = paused;
    server.assign("a1", { ...ticking(file), disconnectToleranceMs: toleranceMs });
    await vi.waitFor(() => expect(ticks(file)).toBeGreaterThan(0));
    const pid = Number(server.output("a1").toString());
    await paused.pause(() => undefined);
    const result = await server.result("a1");
    expect(result.failure?.cause).toBe(Cause.CAUSE_SELF_STOPPED);
    await vi.waitFor(() => expect(alive(pid)).toBe(false));
  });

  it("kills a job that was fenced meanwhile, and reports nothing of it", async () => {
    await using paused = await ground();
    const { server, file } = paused;
    server.assign("a1", ticking(file));
    await vi.waitFor(() => expect(server.output("a1").length).toBeGreaterThan(0));
    const pid = Number(server.output("a1").toString());
    await paused.pause(() => server.send({ $case: "fenced", value: { attemptId: "a1" } }));
    await vi.waitFor(() => expect(alive(pid)).toBe(false));
    expect(server.resultsOf("a1")).toEqual([]);
  });

  it("does not start what it was told to start meanwhile and lost again", async () => {
    await using paused = await ground();
    const { server, file } = paused;
    server.assign("clock", ticking(file));
    await vi.waitFor(() => expect(ticks(file)).toBeGreaterThan(0));
    const ran = `${file}.ran`;
    const spec = { ...sh(`echo ran >> ${ran}`), disconnectToleranceMs: toleranceMs };
    await paused.pause(() => {
      server.script.acknowledgesRenewals = false;
      server.assign("a1", spec);
    });
    const renewals = server.events.length;
    await vi.waitFor(() => expect(server.events.length).toBeGreaterThan(renewals + 2));
    server.send({ $case: "fenced", value: { attemptId: "a1" } });
    server.script.acknowledgesRenewals = true;
    server.assign("a2", sh("true"));
    await server.result("a2");
    expect(existsSync(ran)).toBe(false);
    expect(server.startsOf("a1")).toBe(0);
  });

  it("starts it once when it is still its own", async () => {
    await using paused = await ground();
    const { server, file } = paused;
    server.assign("clock", ticking(file));
    await vi.waitFor(() => expect(ticks(file)).toBeGreaterThan(0));
    const ran = `${file}.ran`;
    const spec = { ...sh(`echo ran >> ${ran}`), disconnectToleranceMs: toleranceMs };
    await paused.pause(() => server.assign("a1", spec));
    expect(await server.result("a1")).toMatchObject({ exitCode: 0 });
    expect(readFileSync(ran, "utf8")).toBe("ran\n");
  });
});
