import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startFleet } from "./fleet.ts";
import { expectRanOnce, note, untilNoted, untilState } from "./ledger.ts";

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const lines = 60;
const clock = join(import.meta.dirname, "../fake/clock.ts");

const jumps = [
  { whose: "the leader's", text: "an hour ahead", ms: hourMs },
  { whose: "the leader's", text: "an hour back", ms: -hourMs },
  { whose: "the leader's", text: "400 days ahead", ms: 400 * dayMs },
  { whose: "every server's", text: "an hour ahead", ms: hourMs },
  { whose: "every server's", text: "an hour back", ms: -hourMs },
  { whose: "every server's", text: "400 days ahead", ms: 400 * dayMs },
  { whose: "every server's", text: "400 days back", ms: -400 * dayMs },
] as const;

test.for(jumps)(
  "F27 when $whose wall clock jumps $text nobody is given up, what runs goes on, and jobs come and go",
  async ({ whose, ms }) => {
    // Each server looks for the file in its own directory.
    const env = { HODEI_TEST_CLOCK: "clock" };
    const fleet = await startFleet(2, env, { nodeArguments: () => ["--import", clock] });
    const leader = await fleet.waitForLeader([0, 1]);
    const client = fleet.client(1 - leader);
    const ledger = join(fleet.directory, "ledger");
    const script = `
${note("start", ledger)}
for i in $(seq 1 ${lines}); do echo "line $i"; ${note("line", ledger)}; sleep 0.1; done`;
    const { id } = await client.submit({ script, timeoutMs: 4 * hourMs });
    await untilState(client, id, "running");
    await untilNoted(ledger, "line");
    const agents = new Set(fleet.servers[0]?.agents().map(({ pid }) => pid));
    for (const [at, server] of fleet.servers.entries()) {
      if (whose !== "the leader's" || at === leader) {
        writeFileSync(join(server.directory, "clock"), String(ms));
      }
    }
    // By their own count, for longer than a worker may be silent and a leader hold its lead.
    await untilNoted(ledger, "line", 45);
    expect(await fleet.findLeader()).toBe(leader);
    const now = new Set(fleet.servers[0]?.agents().map(({ pid }) => pid));
    expect(agents.isSubsetOf(now)).toBe(true);
    for (const server of fleet.servers.keys()) {
      const { id: other } = await fleet.client(server).submit({ command: ["true"] });
      const { state, submittedAt } = await client.wait(other);
      expect(state).toBe("succeeded");
      // The clock of the server that took it did jump.
      const hasJumped = whose !== "the leader's" || server === leader;
      const offMs = (submittedAt?.getTime() ?? 0) - Date.now() - (hasJumped ? ms : 0);
      expect(Math.abs(offMs)).toBeLessThan(hourMs / 2);
    }
    const text = Array.from({ length: lines }, (_, at) => `line ${at + 1}\n`).join("");
    await expectRanOnce(client, { id, ledger, text });
  },
);
