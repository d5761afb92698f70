import { type Command, Option } from "commander";
import type { SubmitSpec } from "#client/client.ts";
import { readAll, readFile } from "./console.ts";
import { UsageError } from "./exit.ts";
import { arg } from "./flag.ts";
import type { Host } from "./host.ts";
import {
  type Pairs,
  parseCount,
  parseCpu,
  parseDuration,
  parseExitCodes,
  parseFactor,
  parseGpu,
  parseNames,
  parsePair,
  parsePriority,
  parseSize,
} from "./parse.ts";

/** The flags of `run` and `submit` that say what to run. */
export interface SpecFlags {
  readonly name?: string;
  readonly script?: string;
  readonly interpreter?: readonly string[];
  readonly env?: Pairs;
  readonly cwd?: string;
  readonly stdin?: string;
  readonly label?: Pairs;
  readonly annotation?: Pairs;
  readonly cpu?: number;
  readonly memory?: number;
  readonly disk?: number;
  readonly gpu?: { readonly gpuCount: number; readonly gpuType: string };
  readonly image?: string;
  readonly priority?: number;
  readonly queueTimeout?: number;
  readonly timeout?: number;
  readonly grace?: number;
  readonly disconnectTolerance?: number;
  readonly reschedule?: "after-loss" | "never";
  readonly maxAttempts?: number;
  readonly retryBackoff?: number;
  readonly retryMaxBackoff?: number;
  readonly retryMultiplier?: number;
  readonly retryExitCodes?: readonly number[];
  readonly retryLost?: boolean;
  readonly provider?: string;
  readonly preferProvider?: string;
  readonly strategy?: string;
  readonly providerLabel?: Pairs;
  readonly preferProviderLabel?: Pairs;
  readonly region?: string;
  readonly allowRegion?: readonly string[];
  readonly arch?: "amd64" | "arm64";
  readonly runtime?: readonly string[];
  readonly hold?: number;
  readonly logTtl?: number;
  readonly tenant?: string;
  readonly idempotencyKey?: string;
}

/** Adds them to a command; every complaint about a value names its flag. */
export function addSpecFlags(command: Command): Command {
  addProgram(addingTo(command, "What to run:"));
  addPlace(addingTo(command, "Where to run it:"));
  addTimes(addingTo(command, "When it ends and begins again:"));
  return command;
}

interface Adding {
  readonly flag: (usage: string, text: string) => Option;
  readonly parsed: <Value>(option: Option, parse: (text: string, before?: Value) => Value) => void;
}

function addingTo(command: Command, group: string): Adding {
  return {
    flag(usage, text) {
      const option = new Option(usage, text).helpGroup(group);
      command.addOption(option);
      return option;
    },
    parsed(option, parse) {
      option.argParser(arg(parse));
    },
  };
}

function addProgram({ flag, parsed }: Adding): void {
  flag("--name <text>", "what people call the job");
  flag("--script <file>", "a script instead of a command; `-` reads standard input");
  parsed(
    flag("--interpreter <word>", "what runs the script; may be repeated for its arguments"),
    collect,
  );
  parsed(flag("-e, --env <key=value>", "a variable; may be repeated"), parsePair);
  flag("-w, --cwd <path>", "where the process starts");
  flag("--stdin <file>", "its standard input; `-` passes ours on");
  parsed(flag("-l, --label <key=value>", "for selecting jobs; may be repeated"), parsePair);
  parsed(flag("--annotation <key=value>", "a note; may be repeated"), parsePair);
}

function addPlace({ flag, parsed }: Adding): void {
  parsed(flag("--cpu <count>", "processors: 0.5 or 500m"), parseCpu);
  parsed(flag("--memory <size>", "memory: 128Mi"), parseSize);
  parsed(flag("--disk <size>", "scratch disk: 1Gi"), parseSize);
  parsed(flag("--gpu <[type:]count>", "GPUs: 1 or a100:2"), parseGpu);
  flag("--image <name>", "container image that holds the agent");
  flag("--provider <name>", "run there and nowhere else");
  flag("--prefer-provider <name>", "run there if possible");
  flag("--strategy <name>", "how to choose among providers");
  parsed(flag("--provider-label <key=value>", "only there; may be repeated"), parsePair);
  parsed(
    flag("--prefer-provider-label <key=value>", "there if possible; may be repeated"),
    parsePair,
  );
  flag("--region <name>", "the region to be preferred");
  parsed(flag("--allow-region <name>", "only in these regions; may be repeated"), collect);
  flag("--arch <name>", "only on this architecture").choices(["amd64", "arm64"]);
  parsed(flag("--runtime <names>", "only where there are these: python,node"), parseNames);
  flag("--tenant <name>", "submit for this tenant (admins)");
}

function addTimes({ flag, parsed }: Adding): void {
  parsed(flag("-p, --priority <level>", "low, normal, high, critical or a number"), parsePriority);
  parsed(flag("--queue-timeout <duration>", "how long it may wait for a worker"), parseDuration);
  parsed(flag("--timeout <duration>", "how long an attempt may run"), parseDuration);
  parsed(flag("--grace <duration>", "between the polite signal and the kill"), parseDuration);
  parsed(
    flag("--disconnect-tolerance <duration>", "how long it may be without contact"),
    parseDuration,
  );
  flag("--reschedule <when>", "what follows a lost worker").choices(["after-loss", "never"]);
  parsed(flag("--max-attempts <count>", "all attempts together"), parseCount);
  parsed(flag("--retry-backoff <duration>", "pause before the second attempt"), parseDuration);
  parsed(flag("--retry-max-backoff <duration>", "longest pause"), parseDuration);
  parsed(flag("--retry-multiplier <factor>", "growth of the pause"), parseFactor);
  parsed(
    flag("--retry-exit-codes <codes>", "exit codes worth another attempt: 1,75"),
    parseExitCodes,
  );
  flag("--retry-lost", "repeat an attempt that was lost although it may have run");
  parsed(flag("--log-ttl <duration>", "how long its log is kept after its end"), parseDuration);
  parsed(flag("--hold <duration>", "how long its worker is kept after a failure"), parseDuration);
  flag("--idempotency-key <key>", "with the same key the same job is answered");
}

/** The spec that the flags and the words behind them say. */
export async function specOf(
  flags: SpecFlags,
  command: readonly string[],
  host: Host,
): Promise<SubmitSpec> {
  if (command.length > 0 === (flags.script !== undefined)) {
    throw new UsageError("give either a command (after --) or --script");
  }
  if (flags.script === "-" && flags.stdin === "-") {
    throw new UsageError("--script and --stdin cannot both be `-`");
  }
  return {
    name: flags.name,
    command: flags.script === undefined ? command : undefined,
    script: await scriptOf(flags, host),
    env: flags.env,
    workingDirectory: flags.cwd,
    stdin: await contentOf(flags.stdin, "--stdin", host),
    labels: flags.label,
    annotations: flags.annotation,
    resources: resourcesOf(flags),
    image: flags.image,
    priority: flags.priority,
    queueTimeoutMs: flags.queueTimeout,
    timeoutMs: flags.timeout,
    cancelGraceMs: flags.grace,
    disconnectToleranceMs: flags.disconnectTolerance,
    reschedule: flags.reschedule === "after-loss" ? "after_loss" : flags.reschedule,
    logTtlMs: flags.logTtl,
    holdMs: flags.hold,
    retry: retryOf(flags),
    provider: providerOf(flags),
  };
}

async function scriptOf(flags: SpecFlags, host: Host): Promise<SubmitSpec["script"]> {
  const content = await contentOf(flags.script, "--script", host);
  if (content === undefined) {
    if (flags.interpreter !== undefined) throw new UsageError("--interpreter needs --script");
    return undefined;
  }
  return { content: content.toString(), interpreter: flags.interpreter };
}

async function contentOf(
  path: string | undefined,
  flag: string,
  host: Host,
): Promise<Buffer | undefined> {
  if (path === undefined) return undefined;
  return path === "-" ? readAll(host.stdin) : readFile(path, flag);
}

function resourcesOf({ cpu, memory, disk, gpu }: SpecFlags): SubmitSpec["resources"] {
  if (cpu === undefined && memory === undefined && disk === undefined && gpu === undefined) {
    return undefined;
  }
  return { cpuMillis: cpu, memoryBytes: memory, diskBytes: disk, ...gpu };
}

function retryOf(flags: SpecFlags): SubmitSpec["retry"] {
  const retry = {
    initialBackoffMs: flags.retryBackoff,
    maxBackoffMs: flags.retryMaxBackoff,
    multiplier: flags.retryMultiplier,
    retryableExitCodes: flags.retryExitCodes,
    retryLost: flags.retryLost,
  };
  if (flags.maxAttempts !== undefined) return { maxAttempts: flags.maxAttempts, ...retry };
  if (Object.values(retry).every((value) => value === undefined)) return undefined;
  throw new UsageError("the --retry-… flags need --max-attempts");
}

function providerOf(flags: SpecFlags): SubmitSpec["provider"] {
  const { provider, preferProvider } = flags;
  if (provider !== undefined && preferProvider !== undefined) {
    throw new UsageError("--provider and --prefer-provider exclude each other");
  }
  const wishes = {
    strategy: flags.strategy,
    requiredLabels: flags.providerLabel,
    preferredLabels: flags.preferProviderLabel,
    preferredRegion: flags.region,
    allowedRegions: flags.allowRegion,
    architecture: flags.arch,
    runtimes: flags.runtime,
  };
  const name = provider ?? preferProvider;
  if (name === undefined && Object.values(wishes).every((wish) => wish === undefined)) {
    return undefined;
  }
  return { name, isStrict: provider !== undefined, ...wishes };
}

function collect(word: string, before: readonly string[] = []): readonly string[] {
  return [...before, word];
}
