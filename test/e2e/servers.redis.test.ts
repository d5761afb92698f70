import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { AttemptState } from "#rpc/gen/hodei/v1/job.ts";
import { type FakeControl, resultOf, startedOf } from "../fake/agent.ts";
import { startFleet } from "./fleet.ts";
import { checkHistory } from "./history.ts";
import { exists, note, readLedger, readPids, untilNoted } from "./ledger.ts";
import { drive, readRuns } from "./load.ts";
import { agentAt, onlySeats, seatAgents } from "./seats.ts";

test("F30 servers that are asked to stop under load lose no submit, hand their streams and the lead over, and exit with 0", async () => {
  const fleet = await startFleet(2, { HODEI_PROCESS_MAX_WORKERS: "6" });
  const count = 24;
  const ledger = join(fleet.directory, "ledger");
  const { history, finals } = await drive({
    clients: [fleet.clientOfAll(0), fleet.clientOfAll(1)],
    jobs: count,
    ledger,
    async disturb() {
      for (let round = 1; round <= 4; round++) {
        await vi.waitUntil(() => readRuns(ledger).length >= round * 3, { timeout: 60_000 });
        const leader = await fleet.waitForLeader([0, 1]);
        expect(await fleet.servers[leader]?.end("SIGTERM")).toBe(0);
        expect(await fleet.waitForLeader([1 - leader])).toBe(1 - leader);
        await fleet.servers[leader]?.start();
      }
    },
  });
  await fleet.servers[0]?.isEmpty();
  expect(checkHistory(history)).toEqual([]);
  expect(finals).toHaveLength(count);
  expect(finals.every((job) => job.attempts.length === 1)).toBe(true);
});

const faults = {
  "F4 an agent that is killed": { signal: "SIGKILL", causes: ["worker_died"] },
  "F5 an agent that stands still for too long": {
    signal: "SIGSTOP",
    causes: ["worker_lost", "worker_died", "worker_stopped"],
  },
} as const;

test.for(Object.entries(faults))(
  "%s loses its attempt whichever server it is connected to, and the job runs again only then",
  async ([, { signal, causes }]) => {
    const fleet = await startFleet(2);
    const ledger = join(fleet.directory, "ledger");
    const pids = join(fleet.directory, "pids");
    const leader = await fleet.waitForLeader([0, 1]);
    const client = fleet.client(1 - leader);
    const script = `
echo $$ >> ${pids}
${note("start", ledger)}
[ "$HODEI_ATTEMPT" -gt 1 ] && exit 0
while :; do ${note("tick", ledger)}; sleep 0.1; done`;
    const { id } = await client.submit({
      script,
      disconnectToleranceMs: 2_500,
      retry: { maxAttempts: 3, initialBackoffMs: 50, retryLost: true },
    });
    await untilNoted(ledger, "tick");
    const [agent] = fleet.servers[0]?.agents() ?? [];
    if (agent === undefined) throw new Error("there is no agent");
    process.kill(agent.pid, signal);
    const job = await client.wait(id);
    if (exists(agent.pid)) process.kill(agent.pid, "SIGCONT");
    expect(job).toMatchObject({ state: "succeeded", exitCode: 0 });
    expect(job.attempts).toHaveLength(2);
    expect(causes).toContain(job.attempts[0]?.failure?.cause);
    await fleet.servers[0]?.isEmpty();
    expect(readPids(pids).filter(exists)).toEqual([]);
    const rows = readLedger(ledger).toSorted((one, other) => one.at - other.at);
    expect(rows.at(-1)).toMatchObject({ word: "start", attempt: 2 });
    expect(await fleet.client(leader).get(id)).toEqual(job);
  },
);

test("F34 agents that all lose their server at once all come back to the other, and nothing is run twice", async () => {
  const fleet = await startFleet(2, onlySeats);
  const count = 200;
  const agents = await seatAgents(fleet, count, 0);
  const client = fleet.client(1);
  const controls = agents.map((agent) => agent.control());
  await Promise.all(controls.map((control) => control.next("welcome")));
  const ids = await Promise.all(
    agents.map(async () => (await client.submit({ command: ["true"] })).id),
  );
  const assigned = await Promise.all(controls.map((control) => control.next("assignment")));
  expect(new Set(assigned.map(({ jobId }) => jobId))).toEqual(new Set(ids));
  await Promise.all(
    controls.map((control, at) => {
      const assignment = assigned[at];
      if (assignment !== undefined) control.send(startedOf(assignment));
      return control.sync();
    }),
  );
  const lost = controls.map((control) => control.error());
  await fleet.servers[0]?.end("SIGKILL");
  await Promise.all(lost);
  const again: FakeControl[] = agents.map(({ options, session }, at) => {
    const { attemptId = "", jobId = "" } = assigned[at] ?? {};
    const back = agentAt(fleet, 1, { workerId: options.workerId, session });
    const held = [{ attemptId, jobId, state: AttemptState.ATTEMPT_STATE_RUNNING }];
    return back.control({ held });
  });
  await Promise.all(again.map((control) => control.next("welcome")));
  const acks = await Promise.all(
    again.map((control, at) => {
      const assignment = assigned[at];
      if (assignment !== undefined) control.send(resultOf(assignment));
      return control.next("resultAck");
    }),
  );
  expect(acks.filter(({ fenced }) => fenced)).toEqual([]);
  for (const control of again) {
    expect([control.count("assignment"), control.count("fenced")]).toEqual([0, 0]);
  }
  const jobs = await Promise.all(ids.map((id) => client.wait(id)));
  expect(
    jobs.filter(({ state, attempts }) => state !== "succeeded" || attempts.length !== 1),
  ).toEqual([]);
});

test("G14 an agent's newest connection is its own, also when the server of the older one thaws", async () => {
  const fleet = await startFleet(2, onlySeats);
  const [agent] = await seatAgents(fleet, 1, 0);
  if (agent === undefined) throw new Error("there is no agent");
  const old = agent.control();
  await old.next("welcome");
  fleet.servers[0]?.signal("SIGSTOP");
  const { options, session } = agent;
  const fresh = agentAt(fleet, 1, { workerId: options.workerId, session }).control();
  await fresh.next("welcome");
  const client = fleet.client(1);
  const { id } = await client.submit({ command: ["true"] });
  const first = await fresh.next("assignment");
  expect(first.jobId).toBe(id);
  fresh.send(startedOf(first));
  await fresh.sync(1);
  fleet.servers[0]?.signal("SIGCONT");
  // The older server finds out, and ends the stream that is not the agent's any more.
  await old.error();
  expect(old.count("assignment")).toBe(0);
  fresh.send(resultOf(first));
  expect(await fresh.next("resultAck")).toMatchObject({ fenced: false });
  const { id: next } = await fleet.client(0).submit({ command: ["true"] });
  const second = await fresh.next("assignment");
  expect(second.jobId).toBe(next);
  fresh.send(resultOf(second));
  expect(await fresh.next("resultAck")).toMatchObject({ fenced: false });
  for (const job of [id, next]) {
    expect(await client.wait(job)).toMatchObject({ state: "succeeded", attempts: [{ number: 1 }] });
  }
});
