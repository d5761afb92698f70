import { credentials } from "@grpc/grpc-js";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runAgent } from "./agent.ts";
import { exitCodes } from "./exit-codes.ts";
import { createAgentLog } from "./log.ts";
import { type AgentEnv, type AgentSettings, readSettings, takeProof } from "./settings.ts";

/** Runs the agent as its environment says; resolves with the exit code. The first SIGTERM ends it politely, the second kills its jobs. */
export async function runHere(env: AgentEnv): Promise<number> {
  const log = createAgentLog(env["HODEI_LOG_LEVEL"]);
  const stop = new AbortController();
  const kill = new AbortController();
  const onSignal = (): void => (stop.signal.aborted ? kill : stop).abort();
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  let workDir: string | undefined;
  try {
    const settings = readSettings(env);
    const proof = takeProof(env, log);
    workDir = makeWorkDir(settings.workRoot ?? tmpdir());
    return await runAgent({
      ...settings,
      proof,
      credentials: credentialsOf(settings),
      workDir,
      env: definedOf(env),
      log,
      stop: stop.signal,
      kill: kill.signal,
    });
  } catch (error) {
    log.error({ error: error instanceof Error ? error.message : String(error) }, "cannot run");
    return exitCodes.unusable;
  } finally {
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
    if (workDir !== undefined) rmSync(workDir, { recursive: true, force: true });
  }
}

function makeWorkDir(root: string): string {
  try {
    mkdirSync(root, { recursive: true });
    return mkdtempSync(join(root, "hodei-agent-"));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`HODEI_AGENT_WORK_DIR: ${root} cannot be written: ${reason}`, { cause });
  }
}

function credentialsOf(settings: AgentSettings) {
  const { ca, caPath, clientCertPath, clientKeyPath } = settings;
  if (ca === undefined && caPath === undefined) return credentials.createInsecure();
  const read = (path: string | undefined) => (path === undefined ? null : readFileSync(path));
  const authority = ca === undefined ? read(caPath) : Buffer.from(ca);
  return credentials.createSsl(authority, read(clientKeyPath), read(clientCertPath));
}

function definedOf(env: AgentEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
