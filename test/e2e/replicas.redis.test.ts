import { join } from "node:path";
import { expect, test, vi } from "vitest";
import type { HodeiClient } from "#client/client.ts";
import { startFleet } from "./fleet.ts";
import { checkHistory } from "./history.ts";
import { drive, readRuns } from "./load.ts";

async function readAll(client: HodeiClient, id: string): Promise<string> {
  const parts: Buffer[] = [];
  for await (const { data } of client.logs(id, { follow: true })) parts.push(Buffer.from(data));
  return Buffer.concat(parts).toString();
}

async function until(client: HodeiClient, id: string, state: string): Promise<void> {
  for await (const event of client.watch(id)) if (event.state === state) return;
}

test("any replica takes a job, shows it, follows its log and cancels it", async () => {
  const fleet = await startFleet(3);
  const [one, two, three] = [fleet.client(0), fleet.client(1), fleet.client(2)];
  const { id } = await one.submit({
    script: "for i in $(seq 1 20); do echo line $i; sleep 0.05; done",
  });
  const [first, second, job] = await Promise.all([
    readAll(two, id),
    readAll(three, id),
    three.wait(id),
  ]);
  expect(first).toBe(Array.from({ length: 20 }, (_, at) => `line ${at + 1}\n`).join(""));
  expect(second).toBe(first);
  expect(job).toMatchObject({ state: "succeeded", exitCode: 0 });
  for (const client of [one, two, three]) {
    const { id: long } = await client.submit({ command: ["sleep", "600"] });
    await until(two, long, "running");
    await three.cancel(long);
    expect(await one.wait(long)).toMatchObject({ state: "cancelled" });
  }
});

test("a leader that is killed is followed, and what runs goes on", async () => {
  const fleet = await startFleet(3);
  const ledger = join(fleet.directory, "ledger");
  const first = await fleet.waitForLeader([0, 1, 2]);
  const rest = [0, 1, 2].filter((at) => at !== first);
  const client = fleet.client(rest[0] ?? 0);
  const script = `echo start >> ${ledger}; for i in $(seq 1 60); do echo $i; sleep 0.1; done`;
  const { id } = await client.submit({ script });
  await until(client, id, "running");
  await fleet.servers[first]?.end("SIGKILL");
  const { id: next } = await client.submit({ command: ["echo", "next"] });
  expect(await client.wait(next)).toMatchObject({ state: "succeeded" });
  expect(rest).toContain(await fleet.findLeader());
  expect(await client.wait(id)).toMatchObject({ state: "succeeded" });
  expect((await client.get(id)).attempts).toHaveLength(1);
  expect(await readAll(client, id)).toBe(
    Array.from({ length: 60 }, (_, at) => `${at + 1}\n`).join(""),
  );
});

test("a leader that is asked to stop hands over at once, not when its lease has run out", async () => {
  const fleet = await startFleet(2, { HODEI_REPLICA_LEASE_MS: "60000" });
  const first = await fleet.waitForLeader([0, 1]);
  const other = 1 - first;
  const client = fleet.client(other);
  const { id } = await client.submit({ command: ["sleep", "3"] });
  await until(client, id, "running");
  expect(await fleet.servers[first]?.end("SIGTERM")).toBe(0);
  expect(await fleet.waitForLeader([other])).toBe(other);
  const { id: next } = await client.submit({ command: ["true"] });
  expect(await client.wait(next)).toMatchObject({ state: "succeeded" });
  expect((await client.wait(id)).attempts).toHaveLength(1);
});

test("F2 a leader that stood still decides nothing when it goes on", async () => {
  const fleet = await startFleet(2, { HODEI_PROCESS_MAX_WORKERS: "2" });
  const first = await fleet.waitForLeader([0, 1]);
  const other = 1 - first;
  const client = fleet.client(other);
  const held = await Promise.all(
    Array.from({ length: 6 }, () => client.submit({ command: ["sleep", "2"] })),
  );
  await until(client, held[0]?.id ?? "", "running");
  fleet.servers[first]?.signal("SIGSTOP");
  expect(await fleet.waitForLeader([other])).toBe(other);
  fleet.servers[first]?.signal("SIGCONT");
  for (const { id } of held) {
    const job = await client.wait(id);
    expect(job).toMatchObject({ state: "succeeded" });
    expect(job.attempts).toHaveLength(1);
  }
  await vi.waitUntil(
    () => fleet.servers[first]?.readLog().includes("replica leads no more"),
    30_000,
  );
  expect(await fleet.findLeader()).toBe(other);
});

test("replicas that are killed, frozen and restarted under load lose nothing and run nothing twice", async () => {
  const fleet = await startFleet(3, { HODEI_PROCESS_MAX_WORKERS: "6" });
  const jobs = 36;
  const ledger = join(fleet.directory, "ledger");
  const due = (count: number) => () => readRuns(ledger).length >= count;
  const { history, finals } = await drive({
    clients: [fleet.clientOfAll(0), fleet.clientOfAll(1), fleet.clientOfAll(2)],
    jobs,
    ledger,
    async disturb() {
      for (let round = 0; round < 6; round++) {
        await vi.waitUntil(due((round + 1) * 4), { timeout: 90_000 });
        const server = fleet.servers[round % 3];
        if (round % 2 === 0) {
          await server?.end("SIGKILL");
          await server?.start();
        } else {
          server?.signal("SIGSTOP");
          await vi.waitUntil(due((round + 1) * 4 + 2), { timeout: 90_000 });
          server?.signal("SIGCONT");
        }
      }
      // A rolling restart: one after the other.
      for (const server of fleet.servers) {
        await server.end("SIGTERM");
        await server.start();
      }
    },
  });
  await fleet.servers[0]?.isEmpty();
  expect(checkHistory(history)).toEqual([]);
  expect(finals).toHaveLength(jobs);
  expect(finals.every((job) => job.attempts.length === 1)).toBe(true);
});
