import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test, vi } from "vitest";
import type { HodeiClient, Job } from "#client/client.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import type { Worker } from "#worker/worker.ts";
import { anyJob } from "../../conformance/store/make.ts";
import type { ServerProcess } from "../../e2e/server-process.ts";
import type { Plan } from "./plan.ts";
import { openStarts, type Starts } from "./starts.ts";

/** Where a provider's workers are. */
export interface KillGround extends AsyncDisposable {
  /** The name of the provider. */
  readonly provider: string;
  /** By which its workers reach this machine. */
  readonly host: string;
  /** Steps at which a server must have died for the test to mean something. */
  readonly calls: readonly RegExp[];
  /** A server of its own, started with these arguments of Node. */
  start(options: KillStart): Promise<ServerProcess>;
  /** What there is of that server's workers. */
  leftovers(server: ServerProcess): Promise<readonly unknown[]>;
}

export interface KillStart {
  readonly nodeArguments: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** Servers that are tried at the same time. */
const lanes = 3;
/** More steps than a job has. */
const maxSteps = 60;
const maxRounds = 3;
const hook = pathToFileURL(join(import.meta.dirname, "hook.ts")).href;

/** What the store must have held when a server was killed; the job's state and its newest worker's. */
const wanted = [
  "no job",
  "queued",
  "queued planned",
  "queued starting",
  "starting ready",
  "running ready",
  "succeeded ready",
];

export function killSuite(name: string, open: () => Promise<KillGround>): void {
  test(`a server on ${name} that is killed at any step of a job loses nothing, starts nothing twice and leaves nothing behind`, async () => {
    await using ground = await open();
    await using starts = await openStarts();
    const died = { states: new Set<string>(), calls: new Set<string>() };
    // Which step is the k-th differs a little from run to run, so a step may be passed over.
    for (let round = 1; round <= maxRounds && !hasAll(died, ground.calls); round++) {
      await tryAll(new Plans(round), died, () => openLife(ground, starts));
    }
    expect([...died.states]).toEqual(expect.arrayContaining(wanted));
    for (const call of ground.calls) {
      expect([...died.calls]).toContainEqual(expect.stringMatching(call));
    }
  }, 900_000);
}

interface Died {
  readonly states: Set<string>;
  readonly calls: Set<string>;
}

function hasAll({ states, calls }: Died, expected: readonly RegExp[]): boolean {
  return (
    wanted.every((state) => states.has(state)) &&
    expected.every((call) => [...calls].some((seen) => call.test(seen)))
  );
}

async function tryAll(plans: Plans, died: Died, open: () => Promise<Life>): Promise<void> {
  const lane = async (): Promise<void> => {
    await using life = await open();
    for (let plan = plans.next(); plan !== undefined; plan = plans.next()) {
      const death = await life.run(plan);
      if (death === undefined) plans.over(plan.step);
      else {
        died.states.add(death.state);
        died.calls.add(death.step);
      }
    }
  };
  const ends = await Promise.allSettled(
    Array.from({ length: lanes }, () => lane().finally(() => plans.end())),
  );
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}

/** Every step once, until a job was over before its step came. */
class Plans {
  readonly #round: number;
  readonly #at = new Map<Plan["step"], number>([
    ["before", 0],
    ["after", 0],
    ["call", 0],
  ]);

  constructor(round: number) {
    this.#round = round;
  }

  next(): Plan | undefined {
    const [entry] = [...this.#at].toSorted(([, one], [, other]) => one - other);
    if (entry === undefined) return undefined;
    const [step, last] = entry;
    if (last >= maxSteps) throw new Error(`a job has more than ${maxSteps} steps`);
    this.#at.set(step, last + 1);
    return { step, at: last + 1, name: `${step} ${last + 1} ${this.#round}` };
  }

  over(step: Plan["step"]): void {
    this.#at.delete(step);
  }

  /** There is no more. */
  end(): void {
    this.#at.clear();
  }
}

interface Death {
  /** What the store held. */
  readonly state: string;
  /** What the server was at. */
  readonly step: string;
}

interface Life extends AsyncDisposable {
  /** Runs one job with a server that dies at that step; undefined when all was over before. */
  run(plan: Plan): Promise<Death | undefined>;
}

async function openLife(ground: KillGround, starts: Starts): Promise<Life> {
  await using parts = new AsyncDisposableStack(); // Undoes a start that fails halfway.
  const folder = mkdtempSync(join(tmpdir(), "hodei-kill-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "plan");
  const server = parts.use(
    await ground.start({ nodeArguments: ["--import", hook], env: { KILL_PLAN: file } }),
  );
  const client = parts.use(server.client(undefined, { outageMs: 120_000 }));
  const kept = parts.move();
  return {
    async run(plan) {
      const key = plan.name;
      const command = starts.command(key, ground.host);
      const exited = server.exited();
      writeFileSync(file, JSON.stringify(plan));
      const ending = runJob(client, { key, command, provider: ground.provider });
      const over = ending.then(() => untilEmpty(ground, server));
      over.catch(() => undefined); // Said below.
      await Promise.race([over, exited]);
      rmSync(file, { force: true });
      let death: Death | undefined;
      if (!server.isRunning) {
        if (!existsSync(`${file}.done`)) {
          throw new Error(`the server ended by itself: ${server.readLog().slice(-2_000)}`);
        }
        const step = readFileSync(`${file}.done`, "utf8");
        rmSync(`${file}.done`);
        death = { state: await stateOf(server, key), step };
        await server.start();
      }
      const what = death === undefined ? key : `${key}: ${death.step}, ${death.state}`;
      const job = await ending;
      const { state, exitCode, attempts } = job;
      const end = { what, attempts, state, exitCode, starts: starts.of(key) };
      expect(end).toEqual({ what, attempts, state: "succeeded", exitCode: 0, starts: 1 });
      await over;
      return death;
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

interface KillJob {
  readonly key: string;
  readonly command: readonly string[];
  readonly provider: string;
}

async function runJob(client: HodeiClient, { key, command, provider }: KillJob): Promise<Job> {
  const spec = { name: key, command, provider: { name: provider, isStrict: true } };
  // Whether a submit arrived that had no answer is not known; with its key it is one job, however often it is sent.
  const submit = () => client.submit(spec, { idempotencyKey: key });
  const { id } = await vi.waitFor(submit, { timeout: 60_000, interval: 200 });
  return client.wait(id);
}

async function untilEmpty(ground: KillGround, server: ServerProcess): Promise<void> {
  const isEmpty = async () => expect(await ground.leftovers(server)).toEqual([]);
  await vi.waitFor(isEmpty, { timeout: 120_000, interval: 200 });
}

/** What the store holds of a job, and of the newest worker that is not over, while no server runs. */
async function stateOf({ directory }: ServerProcess, name: string): Promise<string> {
  await using store = await openSqliteStore({ path: join(directory, "data", "hodei.db") });
  const { rows } = await store.listJobs({ ...anyJob, pageSize: 500 });
  const job = rows.find((row) => row.name === name);
  const worker = (await store.listLiveWorkers()).toSorted(byAge).at(-1);
  return [job?.state ?? "no job", ...(worker === undefined ? [] : [worker.state])].join(" ");
}

function byAge(one: Worker, other: Worker): number {
  return one.plannedAt - other.plannedAt;
}
