import type {
  Provider,
  ProviderCredentials,
  ProviderFilter,
  ProviderHealth,
  ProviderTerms,
  ProviderUpdate,
  UnitPrices,
} from "#client/client.ts";
import { openConsole, readAll, readFile } from "./console.ts";
import { exits, UsageError } from "./exit.ts";
import type { Host } from "./host.ts";
import type { Pairs } from "./parse.ts";
import type { clearable } from "./program-providers.ts";
import type { Call } from "./program.ts";
import { formatFields, formatTable, formatTime } from "./table.ts";
import { take } from "./take.ts";

interface ListFlags {
  readonly type?: string;
  readonly health?: ProviderHealth;
  readonly enabled?: boolean;
  readonly disabled?: boolean;
  readonly withCapacity?: boolean;
}

interface TermFlags {
  readonly priority?: number;
  readonly maxWorkers?: number;
  readonly label?: Pairs;
  readonly region?: string;
  readonly arch?: readonly string[];
  readonly runtime?: readonly string[];
  readonly maxHours?: number;
  readonly price?: UnitPrices;
  readonly startDeadline?: number;
  readonly config?: string;
  readonly kubeconfig?: string;
  readonly dockerCa?: string;
  readonly dockerCert?: string;
  readonly dockerKey?: string;
}

interface AddFlags extends TermFlags {
  readonly type: "kubernetes" | "docker" | "process";
  readonly disabled?: boolean;
}

interface UpdateFlags extends TermFlags {
  readonly clear?: readonly (typeof clearable)[number][];
  readonly ifVersion?: number;
}

export async function listProviders({ host, flags }: Call<ListFlags>): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const providers = await client.providers.list(filterOf(flags));
  if (console.isJson) {
    await console.printJson(providers);
    return exits.done;
  }
  const head = ["PROVIDER", "TYPE", "HEALTH", "STATUS", "WORKERS", "MOST", "PRIORITY", "REASON"];
  const rows = providers.map((provider) => [
    provider.name,
    provider.type,
    provider.health,
    statusOf(provider),
    String(provider.workers),
    String(provider.maxWorkers),
    String(provider.priority),
    provider.reason || provider.circuitReason,
  ]);
  await console.print(formatTable(head, rows));
  return exits.done;
}

export async function getProvider({ host, flags, args }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  await show(console, await client.providers.get(args[0] ?? ""));
  return exits.done;
}

export async function addProvider({ host, flags, args }: Call<AddFlags>): Promise<number> {
  const console = openConsole(host, flags);
  const wish = {
    name: args[0] ?? "",
    type: flags.type,
    isEnabled: flags.disabled !== true,
    ...termsOf(flags),
    ...(await insideOf(host, flags)),
  };
  await using client = await console.connect();
  const provider = await client.providers.register(wish);
  if (console.isJson) await console.printJson(provider);
  else {
    await console.print(`${provider.name} added (${provider.id})`);
    if (provider.reason !== "") await console.note(`${provider.health}: ${provider.reason}`);
  }
  return exits.done;
}

export async function updateProvider({ host, flags, args }: Call<UpdateFlags>): Promise<number> {
  const console = openConsole(host, flags);
  let change: ProviderUpdate = { ...termsOf(flags), ...(await insideOf(host, flags)) };
  for (const what of flags.clear ?? []) change = { ...change, ...cleared[what] };
  if (Object.keys(change).length === 0) throw new UsageError("say what is to be changed");
  const { ifVersion: version } = flags;
  const whole = version === undefined ? change : { ...change, version };
  await using client = await console.connect();
  await show(console, await client.providers.update(args[0] ?? "", whole));
  return exits.done;
}

export async function enableProviders({ host, flags, args }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  for (const name of args) {
    const provider = await client.providers.enable(name);
    if (console.isJson) await console.printJson(provider);
    else await console.print(`${provider.name} enabled`);
  }
  return exits.done;
}

export async function disableProviders({
  host,
  flags,
  args,
}: Call<{ readonly reason?: string }>): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const { reason } = flags;
  for (const name of args) {
    const provider = await client.providers.disable(name, { reason });
    if (console.isJson) await console.printJson(provider);
    else await console.print(`${provider.name} disabled`);
  }
  return exits.done;
}

export async function removeProviders({ host, flags, args }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  for (const name of args) {
    await client.providers.remove(name);
    if (console.isJson) await console.printJson({ name });
    else await console.print(`${name} removed`);
  }
  return exits.done;
}

export async function showStats({ host, flags }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const stats = await client.providers.stats();
  if (console.isJson) await console.printJson(stats);
  else {
    await console.print(
      formatFields({
        providers: stats.totalProviders,
        enabled: stats.enabledProviders,
        healthy: stats.healthyProviders,
        "with capacity": stats.providersWithCapacity,
        workers: stats.totalActiveWorkers,
        "most workers": stats.totalMaxWorkers,
        utilization: `${stats.utilizationPercent.toFixed(1)}%`,
      }),
    );
  }
  return exits.done;
}

export async function listEvents({
  host,
  flags,
  args,
}: Call<{ readonly limit: number }>): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const events = await take(client.providers.events(args[0] ?? ""), flags.limit);
  if (console.isJson) {
    await console.printJson(events);
    return exits.done;
  }
  const rows = events.map(({ at, kind, from, to, reason, actor }) => [
    formatTime(at),
    kind,
    from,
    to,
    actor,
    reason,
  ]);
  await console.print(formatTable(["AT", "WHAT", "FROM", "TO", "BY", "REASON"], rows));
  return exits.done;
}

function filterOf({ type, health, enabled, disabled, withCapacity }: ListFlags): ProviderFilter {
  if (enabled === true && disabled === true) {
    throw new UsageError("give either --enabled or --disabled");
  }
  const isEnabled = enabled === true ? true : disabled === true ? false : undefined;
  return { type, health, isEnabled, onlyWithCapacity: withCapacity };
}

/** What the flags say; the rest is not said. */
function termsOf(flags: TermFlags): Partial<ProviderTerms> & { readonly maxWorkers?: number } {
  const { priority, maxWorkers, label, region, arch, runtime } = flags;
  const { maxHours, price, startDeadline } = flags;
  if (priority !== undefined && !Number.isInteger(priority)) {
    throw new UsageError("--priority: has to be a whole number");
  }
  return {
    ...(priority !== undefined && { priority }),
    ...(maxWorkers !== undefined && { maxWorkers }),
    ...(label !== undefined && { labels: label }),
    ...(region !== undefined && { region }),
    ...(arch !== undefined && { architectures: arch }),
    ...(runtime !== undefined && { runtimes: runtime }),
    ...(maxHours !== undefined && { maxHours }),
    ...(price !== undefined && { pricePerHour: price }),
    ...(startDeadline !== undefined && { startDeadlineMs: startDeadline }),
  };
}

const cleared: Readonly<Record<(typeof clearable)[number], ProviderUpdate>> = {
  "max-workers": { maxWorkers: undefined },
  labels: { labels: {} },
  region: { region: "" },
  architectures: { architectures: [] },
  runtimes: { runtimes: [] },
  price: { pricePerHour: undefined },
  "start-deadline": { startDeadlineMs: undefined },
  credentials: { credentials: undefined },
};

async function insideOf(
  host: Host,
  flags: TermFlags,
): Promise<Pick<ProviderUpdate, "config" | "credentials">> {
  const { config, kubeconfig, dockerCa, dockerCert, dockerKey } = flags;
  const read = async (flag: string, path: string): Promise<string> =>
    (path === "-" ? await readAll(host.stdin) : readFile(path, flag)).toString();
  const files = {
    kubeconfig: kubeconfig && (await read("--kubeconfig", kubeconfig)),
    dockerCa: dockerCa && (await read("--docker-ca", dockerCa)),
    dockerCert: dockerCert && (await read("--docker-cert", dockerCert)),
    dockerKey: dockerKey && (await read("--docker-key", dockerKey)),
  } satisfies ProviderCredentials;
  const hasFiles = Object.values(files).some((text) => text !== undefined);
  return {
    ...(config !== undefined && { config: await parseConfig(config, read) }),
    ...(hasFiles && { credentials: files }),
  };
}

async function parseConfig(
  given: string,
  read: (flag: string, path: string) => Promise<string>,
): Promise<Readonly<Record<string, unknown>>> {
  const text = given.startsWith("@") ? await read("--config", given.slice(1)) : given;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return value as Readonly<Record<string, unknown>>;
    }
  } catch {
    // Said below.
  }
  throw new UsageError("--config: is not a JSON object");
}

async function show(console: ReturnType<typeof openConsole>, provider: Provider): Promise<void> {
  if (console.isJson) {
    await console.printJson(provider);
    return;
  }
  const { capabilities, maxWorkers, pricePerHour, startDeadlineMs, ...rest } = provider;
  const { config, labels, architectures, runtimes, workerLimit, ...others } = rest;
  const { isEnabled, hasCredentials, ...plain } = others;
  await console.print(
    formatFields({
      ...plain,
      enabled: isEnabled,
      "most workers": maxWorkers,
      "worker limit": workerLimit,
      labels: orNothing(labels),
      architectures: architectures.join(" "),
      runtimes: runtimes.join(" "),
      "price per hour": pricePerHour,
      "start deadline ms": startDeadlineMs,
      config: orNothing(config),
      "own credentials": hasCredentials,
      capabilities: capabilities.join(" "),
    }),
  );
}

function orNothing(fields: Readonly<Record<string, unknown>>): unknown {
  return Object.keys(fields).length === 0 ? undefined : fields;
}

/** Whether it is given work, in a word. */
function statusOf({ isEnabled, circuit }: Provider): string {
  if (!isEnabled) return "disabled";
  return circuit === "closed" || circuit === "unknown" ? "enabled" : `circuit ${circuit}`;
}
