import { type Command, Option } from "commander";
import { arg } from "./flag.ts";
import {
  parseChoices,
  parseCount,
  parseDuration,
  parseNames,
  parsePair,
  parsePrices,
} from "./parse.ts";
import type { Add } from "./program.ts";

/** What an update can take back. */
export const clearable = [
  "max-workers",
  "labels",
  "region",
  "architectures",
  "runtimes",
  "price",
  "start-deadline",
  "credentials",
] as const;

export function addProviderVerbs(program: Command, add: Add): void {
  const providers = program.command("providers").description("manage what starts workers");
  const load = () => import("./providers.ts");
  add(providers, ["list", "list providers"], async () => (await load()).listProviders)
    .option("--type <type>", "of this type")
    .addOption(
      new Option("--health <health>", "in this health").choices([
        "healthy",
        "degraded",
        "unhealthy",
      ]),
    )
    .option("--enabled", "only enabled ones")
    .option("--disabled", "only those that are not")
    .option("--with-capacity", "only those that could be given a worker now");
  add(providers, ["get <provider>", "show a provider"], async () => (await load()).getProvider);

  const added = add(
    providers,
    ["add <name>", "add a provider, which is used at once"],
    async () => (await load()).addProvider,
  ).addOption(
    new Option("--type <type>", "what it is")
      .choices(["kubernetes", "docker", "process"])
      .makeOptionMandatory(),
  );
  addTerms(added).option("--disabled", "it is given no workers until it is enabled");
  addTerms(
    add(
      providers,
      ["update <provider>", "change a provider; its workers go on"],
      async () => (await load()).updateProvider,
    ),
  )
    .option(
      "--clear <what>",
      `take back what was said: ${clearable.join(",")}`,
      arg((text) => parseChoices(text, clearable)),
    )
    .option("--if-version <version>", "only if this is its version", arg(parseCount));

  add(
    providers,
    ["enable <providers...>", "let providers be given new workers again"],
    async () => (await load()).enableProviders,
  );
  add(
    providers,
    ["disable <providers...>", "give providers no new workers; what runs there goes on"],
    async () => (await load()).disableProviders,
  ).option("--reason <text>", "why");
  add(
    providers,
    ["remove <providers...>", "remove providers that have no workers"],
    async () => (await load()).removeProviders,
  );
  add(providers, ["stats", "sum up all providers"], async () => (await load()).showStats);
  add(
    providers,
    ["events <provider>", "show what happened to a provider, newest first"],
    async () => (await load()).listEvents,
  ).option("--limit <count>", "at most so many", arg(parseCount), 50);
}

function addTerms(command: Command): Command {
  return command
    .option("--priority <number>", "higher comes first where a strategy keeps the order", Number)
    .option("--max-workers <count>", "most workers at the same time", arg(parseCount))
    .option("--label <key=value>", "what jobs may require; may be repeated", arg(parsePair))
    .option("--region <name>", "where it is")
    .option(
      "--arch <names>",
      "its architectures: amd64,arm64",
      arg((text) => parseChoices(text, ["amd64", "arm64"])),
    )
    .option("--runtime <names>", "what its workers can run: python,node", arg(parseNames))
    .option("--max-hours <hours>", "the longest time that a job may run there", arg(parseCount))
    .option("--price <units>", "cost of an hour: cpu=0.04,memory=0.005,gpu=1", arg(parsePrices))
    .option("--start-deadline <duration>", "how long a worker may take", arg(parseDuration))
    .option("--config <json>", "how it differs from the server's settings; @FILE reads a file")
    .option("--kubeconfig <file>", "its cluster and credentials; - reads standard input")
    .option("--docker-ca <file>", "certificate authority of a Docker engine")
    .option("--docker-cert <file>", "certificate for a Docker engine")
    .option("--docker-key <file>", "key of that certificate");
}
