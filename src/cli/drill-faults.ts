import type { Blame, Cause, Failure, Job, Provider, SubmitSpec } from "#client/client.ts";

/** Something that goes wrong on purpose, and what has to be said of it. */
export interface Fault {
  readonly name: string;
  /** What is done. */
  readonly what: string;
  /** `start`: no worker comes of it, and the job is told while it waits. `run`: its job runs, and ends. */
  readonly phase: "start" | "run";
  /** What is done to the job once it runs. */
  readonly act?: "cancel" | "redeem";
  readonly spec: (wishes: DrillWishes) => SubmitSpec;
  /** Why a provider cannot be drilled in it; undefined: it can. */
  readonly notFor?: (provider: Pick<Provider, "type" | "capabilities">) => string | undefined;
  readonly causes: readonly Cause[];
  readonly blames: readonly Blame[];
  /** What else is wrong with the answer; undefined: nothing. */
  readonly check?: (job: Job, failure: Failure) => string | undefined;
  /** Why what came of it says nothing about the provider; undefined: it does. */
  readonly excuse?: (job: Job, told: Failure | undefined) => string | undefined;
}

export interface DrillWishes {
  /** An image that does not exist. */
  readonly image: string;
  /** Of the job that asks for too much of it. */
  readonly memoryBytes: number;
}

const gib = 2 ** 30;
const forever = ["sleep", "3600"];
/** A job that may not signal its agent says so by this code. */
const notAllowed = 77;

const lacks =
  (capability: string, reason: string) =>
  ({ capabilities }: Pick<Provider, "capabilities">): string | undefined =>
    capabilities.includes(capability) ? undefined : reason;

/** In the order of the table; those that can make a provider be left alone for a while come last. */
export const faults: readonly Fault[] = [
  {
    name: "exit-code",
    what: "a job ends with code 42",
    phase: "run",
    spec: () => ({ command: ["sh", "-c", "exit 42"] }),
    causes: ["exit_code"],
    blames: ["user"],
    check: ({ exitCode }) => (exitCode === 42 ? undefined : `its exit code is ${exitCode}`),
  },
  {
    name: "signal",
    what: "a job's process kills itself with SIGSEGV",
    phase: "run",
    spec: () => ({ command: ["sh", "-c", "kill -SEGV $$"] }),
    causes: ["signal"],
    blames: ["user"],
    check({ attempts }) {
      const signal = attempts.at(-1)?.signal;
      return signal === 11 ? undefined : `its signal is ${signal}`;
    },
  },
  {
    name: "command-not-found",
    what: "a job's program does not exist",
    phase: "run",
    spec: () => ({ command: ["hodei-drill-no-such-program"] }),
    causes: ["command_not_found"],
    blames: ["user"],
    check: (_, { userCodeMayHaveRun }) =>
      userCodeMayHaveRun ? "it is said that user code may have run" : undefined,
  },
  {
    name: "timeout",
    what: "a job runs for longer than its timeout of one second",
    phase: "run",
    spec: () => ({ command: forever, timeoutMs: 1_000, cancelGraceMs: 1_000 }),
    causes: ["execution_timeout"],
    blames: ["user"],
    check: ({ state }) => (state === "timed_out" ? undefined : `the job is ${state}`),
  },
  {
    name: "cancel",
    what: "a job is cancelled while it runs",
    phase: "run",
    act: "cancel",
    spec: () => ({ command: forever, cancelGraceMs: 1_000 }),
    causes: ["cancelled"],
    blames: ["user"],
    check: ({ state }) => (state === "cancelled" ? undefined : `the job is ${state}`),
  },
  {
    name: "out-of-memory",
    what: "a job uses more memory than it asked for",
    phase: "run",
    spec: ({ memoryBytes }) => ({
      // It waits for the end of a line that never ends.
      command: ["tail", "/dev/zero"],
      resources: { memoryBytes },
      timeoutMs: 60_000,
    }),
    notFor: lacks("memoryLimit", "the provider limits no memory"),
    causes: ["out_of_memory"],
    blames: ["user"],
  },
  {
    name: "agent-killed",
    what: "a job kills its agent with SIGKILL",
    phase: "run",
    spec: () => ({ command: ["sh", "-c", killAgent], timeoutMs: 60_000 }),
    causes: ["worker_died"],
    blames: ["node", "provider", "system"],
    check: (_, { userCodeMayHaveRun }) =>
      userCodeMayHaveRun ? undefined : "it is said that no user code has run",
    excuse: ({ exitCode }) =>
      exitCode === notAllowed ? "a job there may not signal its agent" : undefined,
  },
  {
    name: "token-replay",
    what: "a made-up token is shown for a worker that runs",
    phase: "run",
    act: "redeem",
    spec: () => ({ command: forever, cancelGraceMs: 1_000 }),
    causes: ["cancelled"],
    blames: ["user"],
  },
  {
    name: "image-not-found",
    what: "a job asks for an image that does not exist",
    phase: "start",
    spec: ({ image }) => ({ command: ["true"], image }),
    notFor: lacks("images", "the provider has no images"),
    causes: ["start_failed"],
    // A registry that does not answer is not the user's fault.
    blames: ["user", "provider"],
  },
  {
    name: "unschedulable",
    what: "a job asks for 10,000 processors",
    phase: "start",
    spec: () => ({ command: ["true"], resources: { cpuMillis: 10_000_000 } }),
    causes: ["no_provider", "quota"],
    blames: ["provider", "policy", "quota"],
    excuse: ({ state }) =>
      state === "succeeded" ? "the provider starts what it cannot give" : undefined,
  },
  {
    name: "quota",
    what: "a job asks for 1 PiB of memory",
    phase: "start",
    spec: () => ({ command: ["true"], resources: { memoryBytes: 2 ** 20 * gib } }),
    notFor: ({ type }) => (type === "kubernetes" ? undefined : "the provider knows no quotas"),
    // What no quota can ever allow is not even tried.
    causes: ["quota", "no_provider"],
    blames: ["quota", "provider", "policy"],
    excuse: (_, told) =>
      told?.cause === "no_provider" && !/quota/i.test(told.message)
        ? "no quota there stands in the way"
        : undefined,
  },
];

/** An agent is the parent of its jobs' processes. A second later it has certainly said that the job runs. */
const killAgent = `sleep 1; kill -KILL "$PPID" && exec sleep 3600; exit ${notAllowed}`;
