import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { z } from "zod";
import type { Config } from "#config.ts";
import { HodeiError } from "#error.ts";
import {
  isProviderType,
  plainTerms,
  providerNameProblem,
  type ProviderTerms,
  type ProviderType,
} from "#worker/provider-record.ts";
import { checkTerms, mergedConfig } from "./server-provider-config.ts";

/** An entry of the file of providers. */
export interface FileEntry {
  readonly name: string;
  readonly type: ProviderType;
  /** Undefined: not said, so that what was said by a call holds. */
  readonly isEnabled: boolean | undefined;
  readonly terms: Omit<ProviderTerms, "isEnabled">;
  readonly config: Readonly<Record<string, unknown>>;
}

const price = z.number().min(0).default(0);
const prices = z.strictObject({ cpuCore: price, memoryGib: price, gpu: price });

const shape = z.strictObject({
  name: z.string(),
  type: z.string(),
  enabled: z.boolean().optional(),
  priority: z.number().default(0),
  maxWorkers: z.number().optional(),
  labels: z.record(z.string(), z.string()).default({}),
  region: z.string().default(""),
  architectures: z.array(z.string()).default([]),
  runtimes: z.array(z.string()).default([]),
  maxHours: z.number().default(0),
  price: prices.optional(),
  startDeadlineMs: z.number().optional(),
  config: z.record(z.string(), z.unknown()).default({}),
});

const variable = "HODEI_PROVIDERS_FILE";

/** The providers of a YAML or JSON file. Error: `invalid_argument`, naming the entry and the field. */
export async function readProvidersFile(path: string): Promise<readonly FileEntry[]> {
  if (path === "") return [];
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new HodeiError("invalid_argument", `${variable}: cannot read ${path}`, { cause });
  });
  return parseProviders(text);
}

export function parseProviders(text: string): readonly FileEntry[] {
  const entries = parseList(text).map(parseEntry);
  const names = new Set<string>();
  for (const { name } of entries) {
    if (names.has(name)) throw wrong(name, "is there twice");
    names.add(name);
  }
  return entries;
}

/** Refuses a configuration that no provider of the type can have. Error: `invalid_argument`. */
export function checkEntry({ name, type, config }: FileEntry, server: Config): void {
  try {
    mergedConfig(type, config, { source: "file", server, credentials: undefined });
  } catch (error) {
    throw ofEntry(name, error);
  }
}

/** What an entry says of a provider that is new. */
export function termsOf({ isEnabled, terms }: FileEntry): ProviderTerms {
  return { ...plainTerms, ...terms, isEnabled: isEnabled ?? true };
}

/** Says which entry an error is about. */
export function ofEntry(name: string, error: unknown): unknown {
  if (!(error instanceof HodeiError)) return error;
  const { message, hint } = error;
  const details = hint === undefined ? { cause: error } : { cause: error, hint };
  return new HodeiError("invalid_argument", `${variable}: ${name}: ${message}`, details);
}

function parseList(text: string): readonly unknown[] {
  let list: unknown;
  try {
    list = parse(text, { maxAliasCount: 100, logLevel: "error" });
  } catch (cause) {
    throw new HodeiError("invalid_argument", `${variable}: is neither YAML nor JSON`, { cause });
  }
  if (list === null || list === undefined) return [];
  if (Array.isArray(list)) return list as unknown[];
  throw new HodeiError("invalid_argument", `${variable}: is not a list`);
}

function parseEntry(given: unknown, at: number): FileEntry {
  const parsed = shape.safeParse(given);
  if (!parsed.success) {
    const named = z.looseObject({ name: z.string() }).safeParse(given);
    const [issue] = parsed.error.issues;
    throw wrong(named.success ? named.data.name : `entry ${at + 1}`, describe(issue));
  }
  const { name, type, enabled, config, price: pricePerHour, ...rest } = parsed.data;
  const problem = providerNameProblem(name);
  if (problem !== undefined) throw wrong(name, `name: ${problem}`);
  if (!isProviderType(type)) throw wrong(name, "type: has to be kubernetes, docker or process");
  const terms = {
    ...rest,
    maxWorkers: rest.maxWorkers,
    startDeadlineMs: rest.startDeadlineMs,
    pricePerHour,
  };
  try {
    checkTerms(terms);
  } catch (error) {
    throw ofEntry(name, error);
  }
  return { name, type, isEnabled: enabled, terms, config };
}

function describe(issue: z.core.$ZodIssue | undefined): string {
  if (issue === undefined) return "is wrong";
  const path = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    const field = [path, issue.keys[0]].filter((part) => part !== "").join(".");
    return `${field}: is not a field of a provider`;
  }
  return path === "" ? issue.message : `${path}: ${issue.message}`;
}

function wrong(entry: string, problem: string): HodeiError {
  return new HodeiError("invalid_argument", `${variable}: ${entry}: ${problem}`);
}
