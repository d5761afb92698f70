import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { ScriptedServer } from "../fake/server.ts";
import { AgentProcess, sh, started } from "./agent-process.ts";

/** The one to which the agent has connected. */
async function connectedOf(servers: readonly ScriptedServer[]): Promise<ScriptedServer> {
  return vi.waitFor(
    () => {
      const server = servers.find(({ events }) => events.some(({ $case }) => $case === "renewal"));
      if (server === undefined) throw new Error("no agent has connected");
      return server;
    },
    { timeout: 9_000, interval: 10 },
  );
}

/** Two replicas and an agent that knows of both. */
async function replicas() {
  const stack = new AsyncDisposableStack();
  const one = stack.use(await ScriptedServer.open());
  const two = stack.use(await ScriptedServer.open());
  const addresses = `${one.address}, ${two.address}`;
  const agent = stack.use(AgentProcess.start(one, { HODEI_SERVER_ADDRESS: addresses }));
  const used = await connectedOf([one, two]);
  const other = used === one ? two : one;
  // Replicas know each other's sessions, as those that share a store do.
  other.sessions.push(...used.sessions);
  return { used, other, agent, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

describe("an agent that knows several replicas", () => {
  it("goes on at the next one with its session, its job and its log when it loses one", async () => {
    await using run = await replicas();
    const { used, other } = run;
    used.script.acknowledgesLogs = false;
    used.assign("a1", sh('echo before; until [ -e "$HOME/go" ]; do sleep 0.05; done; echo after'));
    await expect.poll(() => used.output("a1").toString()).toBe("before\n");
    used.drop();
    await other.connected();
    writeFileSync(join(run.agent.workRoot, "go"), "");
    expect(other.redeems).toEqual([]);
    expect(new Set([...used.sessions, ...other.sessions]).size).toBe(1);
    expect(await other.result("a1")).toMatchObject({ exitCode: 0 });
    expect(other.events[0]).toMatchObject({
      $case: "hello",
      value: { attempts: [{ attemptId: "a1" }] },
    });
    await expect.poll(() => other.output("a1").toString()).toBe("before\nafter\n");
  });

  it("comes back to the first one when the second is lost too", async () => {
    await using run = await replicas();
    const { used, other } = run;
    used.drop();
    await other.connected();
    await used.comeBack();
    const before = used.events.length;
    other.drop();
    await vi.waitFor(() => expect(used.events.length).toBeGreaterThan(before), 9_000);
    used.assign("a1", sh("exit 7"));
    expect(await used.result("a1")).toMatchObject({ exitCode: 7 });
  });

  it("redeems its token at another one with the same session when the first does not answer it", async () => {
    await using one = await ScriptedServer.open({ redeem: ["lose"] });
    await using two = await ScriptedServer.open({ redeem: ["lose"] });
    const addresses = `${one.address},${two.address}`;
    await using agent = AgentProcess.start(one, { HODEI_SERVER_ADDRESS: addresses });
    await connectedOf([one, two]);
    const redeems = [...one.redeems, ...two.redeems];
    expect(redeems.length).toBeGreaterThan(1);
    expect(one.redeems.length).toBeGreaterThan(0);
    expect(two.redeems.length).toBeGreaterThan(0);
    expect(new Set(redeems.map(({ session }) => session)).size).toBe(1);
    expect(agent.child.exitCode).toBeNull();
  });

  it("passes by an address at which nobody listens", async () => {
    const nobody = createServer().listen(0, "127.0.0.1");
    await once(nobody, "listening");
    const address = nobody.address();
    const port = typeof address === "object" ? address?.port : 0;
    nobody.close();
    await using server = await ScriptedServer.open();
    const addresses = `127.0.0.1:${port},${server.address},127.0.0.1:${port}`;
    await using agent = AgentProcess.start(server, { HODEI_SERVER_ADDRESS: addresses });
    await server.connected();
    expect(agent.child.exitCode).toBeNull();
  });
});

it.for(["nowhere", "a:1,b", "a:1,,b:2", "a:99999"])(
  "an agent refuses %s as its server and names the variable",
  async (address) => {
    await using run = await started({}, { HODEI_SERVER_ADDRESS: address });
    expect(await run.agent.ended()).toBe(64);
    expect(run.agent.log).toMatch(/HODEI_SERVER_ADDRESS: \\".*\\" is not HOST:PORT/);
  },
);
