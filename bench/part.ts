import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { calls as agents } from "./parts/agents.ts";
import type { calls as bull } from "./parts/bull.ts";
import type { calls as client } from "./parts/client.ts";
import type { calls as cluster } from "./parts/cluster.ts";
import type { calls as link } from "./parts/link.ts";
import type { calls as pods } from "./parts/pods.ts";
import type { calls as raw } from "./parts/raw.ts";
import type { calls as registrar } from "./parts/registrar.ts";
import type { calls as sdk } from "./parts/sdk.ts";
import type { calls as server } from "./parts/server.ts";
import type { calls as spawn } from "./parts/spawn.ts";

/** The files of bench/parts and what each can be asked for. */
export interface Parts {
  readonly agents: typeof agents;
  readonly bull: typeof bull;
  readonly client: typeof client;
  readonly cluster: typeof cluster;
  readonly link: typeof link;
  readonly pods: typeof pods;
  readonly raw: typeof raw;
  readonly registrar: typeof registrar;
  readonly sdk: typeof sdk;
  readonly server: typeof server;
  readonly spawn: typeof spawn;
}

/** What a part exports as `calls`. */
export type Calls = { readonly [Name in string]: (argument: never) => unknown };

/** A process of its own that runs one part of a load: a server, a client, an agent. */
export interface Part<Own> extends AsyncDisposable {
  readonly pid: number;
  call<Name extends keyof Own>(
    name: Name,
    ...argument: Arguments<Own[Name]>
  ): Promise<Answer<Own[Name]>>;
  /** What the process has used so far. */
  usage(): Promise<Usage>;
  /** The same after a garbage collection. */
  settledUsage(): Promise<Usage>;
}

type Arguments<Call> = Call extends (...argument: infer Given) => unknown ? Given : never;
type Answer<Call> = Call extends (...argument: never) => infer Given ? Awaited<Given> : never;

export interface Usage {
  readonly cpuMicros: number;
  readonly rssBytes: number;
  readonly heapBytes: number;
}

export interface Request {
  readonly id: number;
  readonly name: string;
  readonly argument: unknown;
}

export type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string };

export interface PartOptions {
  readonly execArgv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A program and its options under which the process is started, such as a tracer. */
  readonly under?: readonly string[];
}

/** The name that every part answers to with its usage. */
export const usageCall = "$usage";

/** Starts `bench/parts/<name>.ts` in a process of its own. */
export async function startPart<Name extends keyof Parts>(
  name: Name,
  options: PartOptions = {},
): Promise<Part<Parts[Name]>> {
  const nodeOptions = [
    "--expose-gc",
    "--disable-warning=ExperimentalWarning",
    ...profiling(name),
    ...(name === "server"
      ? [`--import=${new URL("./parts/thread.ts", import.meta.url).href}`]
      : []),
    ...(options.execArgv ?? []),
  ];
  const [program, ...under] = [...(options.under ?? []), process.execPath];
  const child = fork(fileURLToPath(new URL("./child.ts", import.meta.url)), [name], {
    execPath: program ?? process.execPath,
    execArgv: [...under, ...nodeOptions],
    env: { ...process.env, ...options.env },
    serialization: "advanced",
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const calls = openCalls(child, name);
  const isOver = once(child, "exit").then(() => Promise.reject(new Error(`${name} did not start`)));
  await Promise.race([once(child, "message"), isOver]); // The message says that it is ready.
  return {
    pid: child.pid ?? 0,
    call: (call, ...argument) => calls(String(call), argument[0]) as Promise<never>,
    usage: () => calls(usageCall, false) as Promise<Usage>,
    settledUsage: () => calls(usageCall, true) as Promise<Usage>,
    [Symbol.asyncDispose]: () => stop(child),
  };
}

/** `HODEI_BENCH_PROFILE=server` writes a processor profile of that part to the working directory. */
function profiling(name: string): readonly string[] {
  if (process.env["HODEI_BENCH_PROFILE"] !== name) return [];
  return [
    "--cpu-prof",
    "--cpu-prof-interval=500",
    `--cpu-prof-dir=${process.env["HODEI_BENCH_PROFILE_DIR"] ?? "."}`,
  ];
}

function openCalls(
  child: ChildProcess,
  part: string,
): (name: string, argument: unknown) => Promise<unknown> {
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  let last = 0;
  child.on("message", (message) => {
    const reply = message as Reply;
    const call = waiting.get(reply.id);
    waiting.delete(reply.id);
    if ("error" in reply) call?.reject(new Error(`${part}: ${reply.error}`));
    else call?.resolve(reply.value);
  });
  child.once("exit", (code, signal) => {
    for (const call of waiting.values())
      call.reject(new Error(`${part} ended with ${signal ?? code}`));
  });
  return (name, argument) =>
    new Promise((resolve, reject) => {
      const id = ++last;
      waiting.set(id, { resolve, reject });
      const request: Request = { id, name, argument };
      child.send(request);
    });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.disconnect();
  const timer = setTimeout(() => child.kill("SIGKILL"), 8_000);
  await gone;
  clearTimeout(timer);
}
