import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { RedisCluster, type Member } from "../store/redis-cluster.ts";
import { startFleet } from "./fleet.ts";
import { outputOf, untilState } from "./ledger.ts";

const jobs = 6;

/** Kills a primary, and starts it again as the replica of the one that has taken its place. */
async function failOver(cluster: RedisCluster, primary: Member, key: string): Promise<void> {
  await primary.server.kill();
  const next = () => cluster.ownerOf(key).catch(() => undefined);
  await expect.poll(next, { timeout: 60_000 }).toBeDefined();
  expect(await next()).not.toBe(primary);
  await primary.server.start();
  const hasReplica = async () => (await (await next())?.client.info("replication")) ?? "";
  await expect.poll(hasReplica, { timeout: 60_000 }).toContain("state=online");
}

test("G1, G17, G18 servers whose jobs and logs are in a cluster lose nothing when one of its servers after the other dies", async () => {
  const cluster = new RedisCluster();
  onTestFinished(() => cluster[Symbol.asyncDispose]());
  await cluster.start(3);
  const primaries = [...cluster.members];
  for (const member of primaries) await cluster.addReplica(member);
  const fleet = await startFleet(2, {
    HODEI_REDIS_URL: cluster.url,
    HODEI_REDIS_DURABILITY: "replicated",
  });
  const done = join(fleet.directory, "done");
  const script = `i=0; while [ ! -e ${done} ]; do i=$((i+1)); echo "line $i"; sleep 0.05; done; echo "last $i"`;
  const client = fleet.clientOfAll(0);
  const running = await Promise.all(
    Array.from({ length: jobs }, async (_, at) => {
      const { id } = await fleet.client(at % 2).submit({ script });
      await untilState(client, id, "running");
      return id;
    }),
  );
  for (const primary of primaries) {
    const key = await freeKeyOf(cluster, primary);
    await failOver(cluster, primary, key);
  }
  const { id: next } = await client.submit({ command: ["echo", "next"] });
  expect(await client.wait(next)).toMatchObject({ state: "succeeded" });
  expect((await outputOf(fleet.client(1), next)).text).toBe("next\n");
  const following = running.map((id) => outputOf(fleet.client(1), id));
  writeFileSync(done, "");
  for (const [at, id] of running.entries()) {
    const job = await client.wait(id);
    expect(job).toMatchObject({ state: "succeeded", exitCode: 0 });
    expect(job.attempts).toHaveLength(1);
    const { text, gaps } = (await following[at]) ?? { text: "", gaps: -1 };
    expect(gaps).toBe(0);
    const count = Number(/last (\d+)\n$/.exec(text)?.[1]);
    const lines = Array.from({ length: count }, (_, line) => `line ${line + 1}\n`);
    expect(text).toBe(`${lines.join("")}last ${count}\n`);
  }
});

/** A key that nobody uses, of a member. */
async function freeKeyOf(cluster: RedisCluster, member: Member): Promise<string> {
  for (let at = 0; ; at++) {
    if ((await cluster.ownerOf(`free-${at}`)) === member) return `free-${at}`;
  }
}
