import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Cause } from "#rpc/gen/hodei/v1/job.ts";
import { readSettings, takeProof } from "#agent/settings.ts";
import { createAgentLog } from "#agent/log.ts";
import { ScriptedServer } from "../fake/server.ts";
import { AgentProcess, sh, started } from "./agent-process.ts";

const bootId = "/proc/sys/kernel/random/boot_id";
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hodei-container-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** What the agent says of itself, as a human finds it in the container's log. */
const messages = (agent: AgentProcess): string[] =>
  agent.log
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as { readonly msg: string }).msg);

describe("an agent in a container", () => {
  it("shows the token that its cluster vouches for in place of a one-time token, as it is now", async () => {
    const file = join(directory, "token");
    writeFileSync(file, "a.b.first\n");
    await using server = await ScriptedServer.open({ redeem: ["unavailable"] });
    await using agent = AgentProcess.start(server, {
      HODEI_OTP_FD: "",
      HODEI_ATTESTATION_FILE: file,
    });
    await server.connected();
    expect(server.redeems.at(-1)).toMatchObject({ attestation: "a.b.first", otp: "" });
    expect(agent.log).not.toContain("a.b.first");
    // The kubelet puts a newer one into the file.
    const proof = takeProof({ HODEI_ATTESTATION_FILE: file }, createAgentLog("silent"));
    writeFileSync(file, "a.b.second\n");
    expect(proof.read()).toBe("a.b.second");
  });

  it("waits for a server that is not there yet, and says so", async () => {
    await using server = await ScriptedServer.open();
    server.drop();
    await using agent = AgentProcess.start(server);
    const said = "nobody listens at the address of the server; trying again";
    await vi.waitFor(() => expect(messages(agent)).toContain(said), 9_000);
    await server.comeBack();
    await server.connected();
    expect(messages(agent)[0]).toBe("agent started");
  });

  it("waits for a name that is not known yet, and says so", async () => {
    await using server = await ScriptedServer.open();
    await using agent = AgentProcess.start(server, {
      HODEI_SERVER_ADDRESS: "hodei.invalid:1",
      HODEI_DISCONNECT_TOLERANCE_MS: "500",
    });
    expect(await agent.ended()).toBe(69);
    expect(messages(agent)).toContain("the name of the server is not known here; trying again");
    expect(messages(agent).at(-1)).toBe("gave up: the name of the server is not known here");
  });

  it("names the variable when it cannot write its directory", async () => {
    const file = join(directory, "file");
    writeFileSync(file, "");
    await using server = await ScriptedServer.open();
    await using agent = AgentProcess.start(server, { HODEI_AGENT_WORK_DIR: file });
    expect(await agent.ended()).toBe(64);
    expect(agent.log).toContain("HODEI_AGENT_WORK_DIR");
  });

  it("takes its token from a mount that cannot be written", async () => {
    // Nobody can remove it there, whoever the test is run by.
    await using run = await started({}, { HODEI_OTP_FD: "", HODEI_OTP_FILE: bootId });
    await run.server.connected();
    const id = readFileSync(bootId, "utf8").trim();
    expect(run.server.redeems[0]).toMatchObject({ otp: id });
  });

  it("tells the server when it is asked to end, and lets its job end within what is left", async () => {
    await using run = await started({}, { HODEI_AGENT_STOP_GRACE_MS: "20000" });
    await run.server.connected();
    run.server.assign("a1", {
      ...sh("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"),
      cancelGraceMs: 15_000,
    });
    await vi.waitFor(() => expect(run.server.output("a1").toString()).toBe("up\n"));
    run.agent.child.kill("SIGTERM");
    expect(await run.agent.ended()).toBe(0);
    const told = run.server.events.map(({ $case }) => $case);
    expect(told.indexOf("draining")).toBeGreaterThan(0);
    expect(told.indexOf("draining")).toBeLessThan(told.indexOf("result"));
    const draining = run.server.events.find(({ $case }) => $case === "draining")?.value;
    expect(draining).toEqual({ reason: "terminated", grace: { seconds: 15, nanos: 0 } });
    expect(run.server.events.at(-1)).toEqual({
      $case: "goodbye",
      value: { reason: "terminated" },
    });
    expect(run.server.resultsOf("a1")[0]?.failure?.cause).toBe(Cause.CAUSE_WORKER_STOPPED);
    expect(run.server.output("a1").toString()).toBe("up\nbye\n");
  });

  it("is the last to be killed when memory runs out", async () => {
    await using run = await started();
    await run.server.connected();
    run.server.assign("a1", sh("sleep 0.2; cat /proc/self/oom_score_adj"));
    await run.server.result("a1");
    await vi.waitFor(() => expect(run.server.output("a1").toString()).toBe("1000\n"));
    const own = readFileSync(`/proc/${run.agent.child.pid}/oom_score_adj`, "utf8");
    expect(Number(own)).toBeLessThan(1000);
  });
});

it("settings name what is missing", () => {
  expect(() => readSettings({})).toThrow("HODEI_WORKER_ID");
  expect(() => takeProof({}, createAgentLog("silent"))).toThrow("HODEI_OTP_FILE");
});
