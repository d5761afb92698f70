import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundleAgent as bundleInto } from "../scripts/agent-bundle.ts";
import type { Seat } from "./parts/agents.ts";

export interface AgentProcess extends AsyncDisposable {
  readonly pid: number;
  /** When it was started, in milliseconds since 1970. */
  readonly startedAt: number;
}

export interface AgentOptions {
  readonly address: string;
  readonly slots?: number;
  readonly env?: Readonly<Record<string, string>>;
}

let bundle: Promise<string> | undefined;

/** The agent as it is published: one bundle, made once for each run. */
export function bundleAgent(): Promise<string> {
  bundle ??= makeBundle();
  return bundle;
}

/** Starts the real agent as a process of its own; its token lies in a file. */
export async function startAgent(seat: Seat, options: AgentOptions): Promise<AgentProcess> {
  const file = await bundleAgent();
  const folder = await mkdtemp(join(tmpdir(), "hodei-bench-agent-"));
  const otpFile = join(folder, "otp");
  await writeFile(otpFile, seat.otp, { mode: 0o600 });
  const env = {
    PATH: process.env["PATH"],
    HOME: folder,
    HODEI_WORKER_ID: seat.workerId,
    HODEI_SERVER_ADDRESS: options.address,
    HODEI_OTP_FILE: otpFile,
    HODEI_AGENT_SLOTS: String(options.slots ?? 1),
    HODEI_LOG_LEVEL: "warn",
    ...options.env,
  };
  const startedAt = performance.timeOrigin + performance.now();
  // As the process provider and the image start it.
  const child = spawn(process.execPath, ["--max-semi-space-size=1", file], {
    cwd: folder,
    env,
    stdio: ["ignore", "inherit", "inherit"],
  });
  return {
    pid: child.pid ?? 0,
    startedAt,
    [Symbol.asyncDispose]: async () => {
      await end(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function makeBundle(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hodei-bench-bundle-"));
  process.once("exit", () => void rm(folder, { recursive: true, force: true }));
  const outfile = join(folder, "agent.mjs");
  await bundleInto(outfile);
  return outfile;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 3_000);
  await gone;
  clearTimeout(timer);
}
