import { Command, Option } from "commander";
import { jobStates } from "#job/state.ts";
import { logStreams } from "#log/record.ts";
import type { CommonFlags } from "./console.ts";
import type { Host } from "./host.ts";
import { arg } from "./flag.ts";
import { parseChoices, parseCount, parseDuration, parsePair } from "./parse.ts";
import { addClusterVerbs } from "./program-cluster.ts";
import { addProviderVerbs } from "./program-providers.ts";
import { addSpecFlags } from "./spec-flags.ts";

/** How a verb was called. */
export interface Call<Flags = CommonFlags> {
  readonly host: Host;
  readonly flags: Flags & CommonFlags;
  readonly args: readonly string[];
}

type Verb<Flags> = (call: Call<Flags>) => Promise<number>;

const workerStates = ["planned", "starting", "ready", "draining", "stopping", "ended"];
const shells = ["bash", "zsh", "fish"];

/** The tree of verbs. What a verb needs is loaded when it is called, so that help stays quick. */
export function createProgram(host: Host, onExit: (code: number) => void): Command {
  const program = new Command("hodei")
    .description("Runs jobs on ephemeral workers, and shows their logs.")
    .version(host.version, "-V, --version")
    .enablePositionalOptions()
    .showHelpAfterError("(--help shows what is possible)");
  addCommonFlags(program);

  const bind =
    <Flags>(command: Command, load: () => Promise<Verb<Flags>>) =>
    async (): Promise<void> => {
      const verb = await load();
      // What stands behind the verb wins over what stands before it.
      const flags = command.opts<Flags & CommonFlags>();
      onExit(await verb({ host, flags: { ...program.opts(), ...flags }, args: command.args }));
    };
  const add: Add = (parent, [usage, text], load) => {
    const command = addCommonFlags(parent.command(usage).description(text));
    command.action(bind(command, load));
    return command;
  };

  addRunVerbs(program, add);
  addJobVerbs(program, add);
  addOperationVerbs(program, add);
  addProviderVerbs(program, add);
  addAdminVerbs(program, add);
  addStoreVerbs(program, add);
  addClusterVerbs(program, add);
  addProcessVerbs(program, add);
  prepare(program, host);
  return program;
}

/** Adds a verb, whose code is loaded when it is called. */
export type Add = <Flags>(
  parent: Command,
  usageAndText: readonly [usage: string, text: string],
  load: () => Promise<Verb<Flags>>,
) => Command;

function addRunVerbs(program: Command, add: Add): void {
  const run = add(
    program,
    ["run [command...]", "submit a job, follow it, and end as it does"],
    async () => (await import("./run.ts")).run,
  );
  addSpecFlags(run.passThroughOptions())
    .option("--local", "start a control plane for the duration; nothing else is needed")
    .option("--raw", "write the job's output to a terminal as it is, control characters included");
  const submit = add(
    program,
    ["submit [command...]", "submit a job and print its id"],
    async () => (await import("./submit.ts")).submit,
  );
  addSpecFlags(submit.passThroughOptions()).option(
    "--dry-run",
    "say what would become of the job, and submit nothing",
  );
}

function addJobVerbs(program: Command, add: Add): void {
  const jobs = program.command("jobs").description("look at jobs and end them");
  const load = () => import("./jobs.ts");
  add(jobs, ["list", "list jobs, newest first"], async () => (await load()).listJobs)
    .option(
      "--state <states>",
      "in these states: a,b",
      arg((text) => parseChoices(text, jobStates)),
    )
    .option("--label <key=value>", "with this label; may be repeated", arg(parsePair))
    .option("--tenant <name>", "of this tenant, `*` for all (admins)")
    .option("--text <text>", "with this in the name or id")
    .option("--since <duration>", "submitted in the last so much time", arg(parseDuration))
    .option("--until <duration>", "submitted longer ago than this", arg(parseDuration))
    .option("--limit <count>", "at most so many", arg(parseCount), 50);
  add(jobs, ["get <job>", "show a job"], async () => (await load()).getJob);
  add(
    jobs,
    ["watch <job>", "show a job's events until its end"],
    async () => (await load()).watchJob,
  ).option("--after <sequence>", "only events after this one", arg(parseCount));
  add(jobs, ["cancel <jobs...>", "end jobs"], async () => (await load()).cancelJobs).option(
    "--reason <text>",
    "why",
  );
  add(jobs, ["explain <job>", "say what a job waits for"], async () => (await load()).explainJob);

  add(program, ["logs <job>", "show a job's log"], async () => (await import("./logs.ts")).showLogs)
    .option("-f, --follow", "wait for what comes, until the log ends")
    .option("-n, --tail <lines>", "only the last so many lines", arg(parseCount))
    .addOption(new Option("--stream <name>", "only this stream").choices(logStreams))
    .option("--attempt <number>", "only this attempt", arg(parseCount))
    .option("-t, --timestamps", "begin every line with its time")
    .option("--raw", "write to a terminal as it is, control characters included");
}

function addOperationVerbs(program: Command, add: Add): void {
  const workers = program.command("workers").description("look at workers and end them");
  const load = () => import("./workers.ts");
  add(workers, ["list", "list workers, newest first"], async () => (await load()).listWorkers)
    .option(
      "--state <states>",
      "in these states: a,b",
      arg((text) => parseChoices(text, workerStates)),
    )
    .option("--provider <name>", "of this provider")
    .option("--limit <count>", "at most so many", arg(parseCount), 50);
  add(workers, ["get <worker>", "show a worker"], async () => (await load()).getWorker);
  add(
    workers,
    ["drain <workers...>", "let workers finish and take nothing new"],
    async () => (await load()).drainWorkers,
  );
  add(
    workers,
    ["terminate <workers...>", "end workers and what runs on them"],
    async () => (await load()).terminateWorkers,
  ).option("--reason <text>", "why");
}

function addAdminVerbs(program: Command, add: Add): void {
  const tokens = program.command("tokens").description("manage the bearer tokens of clients");
  const load = () => import("./tokens.ts");
  add(
    tokens,
    ["create", "make a token and print its secret"],
    async () => (await load()).createToken,
  )
    .requiredOption("--subject <name>", "who bears it")
    .requiredOption("--tenant <name>", "whose jobs it is for")
    .addOption(
      new Option("--role <role>", "what it allows")
        .choices(["viewer", "submitter", "operator", "admin"])
        .makeOptionMandatory(),
    )
    .option("--ttl <duration>", "how long it is good", arg(parseDuration));
  add(tokens, ["list", "list tokens"], async () => (await load()).listTokens);
  add(
    tokens,
    ["revoke <tokens...>", "make tokens worthless at once"],
    async () => (await load()).revokeTokens,
  );

  const audit = program.command("audit").description("read who changed what");
  add(
    audit,
    ["list", "list entries, newest first"],
    async () => (await import("./audit.ts")).listAudit,
  )
    .option("--actor <name>", "by this actor")
    .option("--target <id>", "on this target")
    .option("--correlation-id <id>", "with this correlation id")
    .option("--limit <count>", "at most so many", arg(parseCount), 50);
}

function addStoreVerbs(program: Command, add: Add): void {
  const load = () => import("./backup.ts");
  add(
    program,
    [
      "backup <directory>",
      "let the server write all jobs and logs into a new folder on its machine",
    ],
    async () => (await load()).backup,
  );
  add(
    program,
    ["restore <directory>", "fill the empty HODEI_DATA_DIRECTORY with a backup; needs no server"],
    async () => (await load()).restore,
  );
  const store = program.command("store").description("move what a server keeps");
  add(
    store,
    ["copy", "copy the jobs of a store into an empty one, while no server runs on either"],
    async () => (await load()).copyStore,
  )
    .requiredOption(
      "--from <place>",
      "a data directory, redis://host:port#instance, or a file.ndjson",
    )
    .requiredOption(
      "--to <place>",
      "a data directory, redis://host:port#instance, or a file.ndjson",
    );
}

function addProcessVerbs(program: Command, add: Add): void {
  add(
    program,
    ["server", "serve, as the HODEI_* variables say"],
    async () =>
      ({ host }) =>
        host.serve(),
  );
  add(
    program,
    ["agent", "run the agent of a worker, as a provider starts it"],
    async () =>
      ({ host }) =>
        host.runAgent(),
  );
  add(
    program,
    ["version", "print the version"],
    async () => (await import("./version.ts")).printVersion,
  );
  add(program, ["completion", "print a completion script"], async () =>
    (await import("./completion.ts")).completionVerb(program),
  ).argument("<shell>", shells.join(", "));
}

function addCommonFlags(command: Command): Command {
  const flags = [
    new Option("-s, --server <host:port,...>", "the server, or its replicas (HODEI_SERVER)"),
    new Option("--token <secret>", "bearer token (HODEI_TOKEN)"),
    new Option("--token-file <path>", "file with the bearer token (HODEI_TOKEN_FILE)"),
    new Option(
      "--ca <path>",
      "certificate authority of the server; switches TLS on (HODEI_CA_CERT_PATH)",
    ),
    new Option("--cert <path>", "the client's certificate (HODEI_CLIENT_CERT_PATH)"),
    new Option("--key <path>", "the client's key (HODEI_CLIENT_KEY_PATH)"),
    new Option("--tls", "TLS with the system's certificate authorities"),
    new Option("-o, --output <format>", "how to print").choices(["text", "json"]),
    new Option("--no-color", "without colours (NO_COLOR)").default(undefined),
  ];
  for (const flag of flags) command.addOption(flag.helpGroup("Common options:"));
  return command;
}

/** Nothing may leave the process or write past the host, in any command of the tree. */
function prepare(command: Command, host: Host): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => void host.stdout.write(text),
    writeErr: (text) => void host.stderr.write(text),
  });
  for (const child of command.commands) prepare(child, host);
}
