import { existsSync, mkdtempSync, rmSync, writeFileSync, readFileSync } from "node:fs";
import { ServerCredentials } from "@grpc/grpc-js";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ScriptedServer } from "../fake/server.ts";
import { AgentProcess, otp, started } from "./agent-process.ts";

const tls = join(import.meta.dirname, "../rpc/tls");

describe("redeeming", () => {
  it("repeats the same session until the server answers, also after a lost reply", async () => {
    await using run = await started({ redeem: ["unavailable", "lose"] });
    await run.server.connected();
    expect(run.server.redeems).toHaveLength(3);
    expect(new Set(run.server.redeems.map(({ session }) => session)).size).toBe(1);
    expect(run.server.redeems[0]).toMatchObject({ workerId: "w1", otp });
  });

  it("leaves with a clear error when the token is refused", async () => {
    await using run = await started({ redeem: ["refuse"] });
    expect(await run.agent.ended()).toBe(77);
    expect(run.agent.log).toContain("refused the one-time token");
    expect(run.agent.log).not.toContain(otp);
  });

  it("accepts the token in a variable with a warning", async () => {
    await using run = await started({}, { HODEI_OTP_FD: "", HODEI_OTP_TOKEN: otp });
    await run.server.connected();
    expect(run.agent.log).toContain("HODEI_OTP_TOKEN can be read");
    expect(run.agent.log).not.toContain(otp);
  });

  it("leaves after its tolerance when nobody answers", async () => {
    await using server = await ScriptedServer.open();
    server.drop();
    await using agent = AgentProcess.start(server, { HODEI_DISCONNECT_TOLERANCE_MS: "300" });
    expect(await agent.ended()).toBe(69);
  });

  it("takes the token from a file and removes it", async () => {
    const directory = mkdtempSync(join(tmpdir(), "hodei-otp-"));
    const file = join(directory, "otp");
    writeFileSync(file, `${otp}\n`, { mode: 0o600 });
    await using run = await started({}, { HODEI_OTP_FD: "", HODEI_OTP_FILE: file });
    await run.server.connected();
    expect(run.server.redeems[0]).toMatchObject({ otp });
    expect(existsSync(file)).toBe(false);
    rmSync(directory, { recursive: true });
  });

  it("speaks TLS with a server that its authority vouches for, and with no other", async () => {
    const key = readFileSync(join(tls, "server.key"));
    const certificate = readFileSync(join(tls, "server.pem"));
    const credentials = ServerCredentials.createSsl(null, [
      { private_key: key, cert_chain: certificate },
    ]);
    await using server = await ScriptedServer.open({}, credentials);
    const ca = join(tls, "ca.pem");
    await using agent = AgentProcess.start(server, { HODEI_CA_CERT_PATH: ca });
    await server.connected();
    await using other = AgentProcess.start(server, {
      HODEI_CA_CERT_PATH: join(tls, "stranger.pem"),
      HODEI_DISCONNECT_TOLERANCE_MS: "300",
    });
    expect(await other.ended()).toBe(69);
    expect(agent.child.exitCode).toBeNull();
    expect(server.redeems).toHaveLength(1);
  });
});
