import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readProcess } from "#processes.ts";
import { type Script, ScriptedServer } from "../fake/server.ts";

export const otp = "one-time-token-of-this-test";
const main = join(import.meta.dirname, "../../src/agent/main.ts");

/** A real agent in a process of its own. */
export class AgentProcess implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly workRoot: string;
  log = "";

  private constructor(child: ChildProcess, workRoot: string) {
    this.child = child;
    this.workRoot = workRoot;
    child.stderr?.on("data", (chunk: Buffer) => (this.log += chunk.toString()));
  }

  static start(server: ScriptedServer, env: Record<string, string> = {}): AgentProcess {
    const workRoot = mkdtempSync(join(tmpdir(), "hodei-test-"));
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", main], {
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: workRoot,
        HODEI_WORKER_ID: "w1",
        HODEI_SERVER_ADDRESS: server.address,
        HODEI_OTP_FD: "3",
        HODEI_AGENT_WORK_DIR: workRoot,
        ...env,
      },
      stdio: ["ignore", "ignore", "pipe", "pipe"],
    });
    const pipe = child.stdio[3];
    if (pipe !== null && pipe !== undefined && "end" in pipe) {
      // An agent that takes its token from elsewhere does not read the pipe.
      pipe.on("error", () => undefined);
      pipe.end(otp);
    }
    return new AgentProcess(child, workRoot);
  }

  /** Exit code, or the name of the signal. */
  async ended(): Promise<number | string | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      await once(this.child, "exit");
    }
    return this.child.exitCode ?? this.child.signalCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGTERM");
    this.child.kill("SIGTERM");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 2_000);
    await this.ended();
    clearTimeout(timer);
    rmSync(this.workRoot, { recursive: true, force: true });
  }
}

export const sh = (script: string) => ({ command: ["sh", "-c", script] });

/** A scripted server and an agent that is started for it. */
export async function started(script: Partial<Script> = {}, env: Record<string, string> = {}) {
  const stack = new AsyncDisposableStack();
  const server = stack.use(await ScriptedServer.open(script));
  const agent = stack.use(AgentProcess.start(server, env));
  return { server, agent, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** A zombie has ended; somebody only has not taken note yet. */
export function alive(pid: number): boolean {
  return readProcess(pid)?.isZombie === false;
}
