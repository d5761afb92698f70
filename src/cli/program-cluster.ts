import { type Command, Option } from "commander";
import { arg } from "./flag.ts";
import { parseCount, parseDuration, parseNames, parseSize } from "./parse.ts";
import type { Add } from "./program.ts";

/** A port at which nobody listens, so that no network is needed to be refused. */
const missingImage = "localhost:1/hodei-drill/no-such-image:1";

/** What is for those who set a server up, and who try it. */
export function addClusterVerbs(program: Command, add: Add): void {
  add(
    program,
    ["manifests", "print what a server in a Kubernetes cluster consists of"],
    async () => (await import("./manifests.ts")).printManifests,
  )
    .addOption(
      new Option("--profile <names>", "names of today, or of the first deployments").choices([
        "standard",
        "legacy",
      ]),
    )
    .option("--namespace <name>", "where workers live")
    .option("--server-namespace <name>", "where the server lives")
    .option("--image <name>", "image of the workers")
    .option("--server-image <name>", "image of the server")
    .option("--pull-secret <name>", "secret for pulling the workers' image")
    .option("--tenant-namespaces", "every tenant gets a namespace of its own")
    .addOption(
      new Option("--store <kind>", "where the server keeps its state").choices([
        "embedded",
        "redis",
      ]),
    )
    .option(
      "--replicas <count>",
      "servers over one Redis (2; needs --store redis)",
      arg(parseCount),
    )
    .option("--hpa", "scale the server with its load (needs --store redis)")
    .option(
      "--only <groups>",
      "only these of namespace,rbac,network-policy,configmap,server,monitoring",
      arg(parseNames),
    )
    .option(
      "--without <groups>",
      "not these: monitoring, where the cluster has no Prometheus operator",
      arg(parseNames),
    );
  add(
    program,
    ["doctor", "say what keeps a server with these HODEI_* variables from running jobs"],
    async () => (await import("./doctor.ts")).diagnose,
  );
  add(
    program,
    ["drill", "let things go wrong on purpose, and check what is said of it and how soon"],
    async () => (await import("./drill.ts")).drill,
  )
    .option("--provider <names>", "only on these: a,b", arg(parseNames))
    .option("--only <faults>", "only these: exit-code,cancel", arg(parseNames))
    .option("--patience <duration>", "how long a report may take", arg(parseDuration), 120_000)
    .option("--parallel <count>", "faults at a time on each provider", arg(parseCount), 3)
    .option("--memory <size>", "of the job that takes more", arg(parseSize), 64 * 2 ** 20)
    .option("--missing-image <name>", "an image that does not exist", missingImage);
}
