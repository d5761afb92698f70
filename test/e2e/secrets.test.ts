import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, onTestFinished, test, vi } from "vitest";
import type { HodeiClient } from "#client/client.ts";
import { hashSecret } from "#worker/secret.ts";
import { note, outputOf, untilNoted } from "./ledger.ts";
import { type ServerProcess, startForTest } from "./server-process.ts";

const adminToken = "Admin-Secret-0123456789-of-this-run";
/** One-time tokens and sessions are 256 bits in base64url. */
const secretCharacters = 43;

/** Shows whatever a job can see of other processes and of files around it. */
const spy = `
for process in /proc/[0-9]*; do tr '\\0' '\\n' < $process/environ; tr '\\0' ' ' < $process/cmdline; done 2>/dev/null
env; ls -la ..; cat ../*.json ../../worker.json ../../agent.log 2>/dev/null
ls -la /proc/$PPID/fd; cat /proc/$PPID/fd/3 2>/dev/null </dev/null
echo "that is all"`;

test("G13 no token, one-time token or session is in any artefact of a run, nor seen by a job", async () => {
  // A variable of the server could be read by whoever runs as the same user, so the token comes in a file.
  const folder = mkdtempSync(join(tmpdir(), "hodei-admin-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const tokenFile = join(folder, "token");
  writeFileSync(tokenFile, adminToken, { mode: 0o600 });
  const server = await startForTest({
    HODEI_ADMIN_TOKEN_FILE: tokenFile,
    HODEI_LOG_LEVEL: "trace",
  });
  await using admin = server.client(adminToken);
  const secrets = await Promise.all(
    (["viewer", "submitter", "operator"] as const).map((role) =>
      admin.tokens.create({ subject: role, tenant: "default", role }),
    ),
  );
  await using submitter = server.client(secrets[1]?.secret);
  // One that stays while the store is looked at, so that its agent's log and folder are there too.
  const ledger = join(server.directory, "ledger");
  const held = await submitter.submit({ script: `${note("start", ledger)}\nsleep 1000` });
  await untilNoted(ledger, "start");
  const spied = await submitter.submit({ script: `${spy}\nsleep 1000` });
  await vi.waitFor(
    async () => expect((await outputOf(admin, spied.id)).text).toMatch(/that is all\n$/),
    { timeout: 30_000 },
  );
  const failed = await submitter.submit({ command: ["no-such-program"] });
  await submitter.wait(failed.id);
  await expect(
    server.client("a-wrong-token-that-is-long-enough").get(held.id),
  ).rejects.toMatchObject({ code: "UNAUTHENTICATED" });

  const texts = await answersOf(server, admin, [held.id, spied.id, failed.id]);
  expect(texts["output of the spy"]).toContain("HODEI_WORKER_ID=");
  const copy = join(server.directory, "copy");
  await server.end("SIGKILL");
  cpSync(join(server.directory, "data"), copy, { recursive: true });
  for (const file of filesBelow(copy)) texts[file] = readFileSync(file, "latin1");
  texts["server log"] = server.readLog();
  texts["what processes show"] = processesOf(server);
  expect(Object.keys(texts).some((name) => name.endsWith("agent.log"))).toBe(true);

  const known = [adminToken, ...secrets.map(({ secret }) => secret.split("_").at(-1) ?? "")];
  const hashes = hashesIn(join(copy, "hodei.db"));
  expect(hashes.size).toBeGreaterThanOrEqual(secrets.length + 2 * 2 + 1);
  for (const { secret } of secrets) {
    expect(findHashed(`xx${secret}yy`, new Set([hashOf(secret)]), secret.length)).toBe(secret);
  }
  for (const [name, text] of Object.entries(texts)) {
    expect({ name, found: known.filter((secret) => text.includes(secret)) }).toEqual({
      name,
      found: [],
    });
    expect({ name, found: findHashed(text, hashes, secretCharacters) }).toEqual({
      name,
      found: undefined,
    });
  }
});

async function answersOf(
  server: ServerProcess,
  admin: HodeiClient,
  jobs: readonly string[],
): Promise<Record<string, string>> {
  const texts: Record<string, string> = { metrics: await server.readMetrics() };
  const gather = async (name: string, items: AsyncIterable<unknown>): Promise<void> => {
    const list = [];
    for await (const item of items) list.push(JSON.stringify(item));
    texts[name] = list.join("\n");
  };
  await gather("audit", admin.audit.list());
  await gather("workers", admin.workers.list());
  await gather("tokens", admin.tokens.list());
  await gather("jobs", admin.list());
  for (const id of jobs) texts[`job ${id}`] = JSON.stringify(await admin.get(id));
  texts["output of the spy"] = (await outputOf(admin, jobs[1] ?? "")).text;
  return texts;
}

/** The environment and command line of everything that the server started, as any process of the same user sees them. */
function processesOf(server: ServerProcess): string {
  return server
    .workerProcesses()
    .map(({ pid, command }) => command + readFileSync(`/proc/${pid}/environ`, "latin1"))
    .join("\n");
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
}

/** The hashes of all secrets that the server has given out or accepted; the store has nothing else of them. */
function hashesIn(path: string): Set<string> {
  using db = new DatabaseSync(path);
  const rows = [
    ...db.prepare("SELECT otp_hash AS hash FROM workers").all(),
    ...db.prepare("SELECT session_hash AS hash FROM workers WHERE session_hash NOTNULL").all(),
    ...db.prepare("SELECT hash FROM tokens").all(),
  ];
  return new Set(
    rows.flatMap(({ hash }) =>
      hash instanceof Uint8Array ? [Buffer.from(hash).toString("hex")] : [],
    ),
  );
}

function hashOf(secret: string): string {
  return Buffer.from(hashSecret(secret)).toString("hex");
}

/** A piece of the text whose hash is one of these. */
function findHashed(text: string, hashes: ReadonlySet<string>, length: number): string | undefined {
  for (const [run] of text.matchAll(/[A-Za-z0-9_-]{43,}/g)) {
    for (let at = 0; at + length <= run.length; at++) {
      const piece = run.slice(at, at + length);
      if (hashes.has(hashOf(piece))) return piece;
    }
  }
  return undefined;
}
