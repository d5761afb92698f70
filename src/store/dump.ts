import { HodeiError } from "#error.ts";
import type { JobId } from "#job/id.ts";
import type { Job, JobEvent } from "#job/job.ts";
import type { AuditEntry, Token } from "#tenant/identity.ts";
import type { ProviderEvent, ProviderRecord, ProviderState } from "#worker/provider-record.ts";
import type { Worker } from "#worker/worker.ts";

/**
 * Everything that a store keeps, in the words of the domain, so that one kind of store can be copied into another. A dump begins with `head` and ends with `foot`;
 * a job comes before the keys that name it. What a store derives (queues, indexes, shares, counts) is not in it.
 */
export type DumpRecord =
  | { readonly kind: "head"; readonly format: typeof dumpFormat }
  | { readonly kind: "worker"; readonly worker: DumpedWorker }
  | { readonly kind: "job"; readonly job: Job; readonly events: readonly JobEvent[] }
  | { readonly kind: "key"; readonly key: DumpedKey }
  | { readonly kind: "token"; readonly token: Token; readonly secretHash: Uint8Array }
  | { readonly kind: "audit"; readonly entry: AuditEntry; readonly expiresAt: number }
  | { readonly kind: "provider"; readonly provider: ProviderRecord }
  | { readonly kind: "provider_event"; readonly event: ProviderEvent; readonly expiresAt: number }
  | { readonly kind: "provider_state"; readonly state: ProviderState }
  /** How many records came before it, the head not counted. */
  | { readonly kind: "foot"; readonly records: number };

export const dumpFormat = 1;

export interface DumpedWorker extends Omit<Worker, "jobs"> {
  readonly otpHash: Uint8Array;
  readonly otpExpiresAt: number;
  readonly sessionHash: Uint8Array | undefined;
}

export interface DumpedKey {
  readonly tenant: string;
  readonly key: string;
  readonly jobId: JobId;
  readonly specHash: Uint8Array;
  readonly expiresAt: number;
}

export interface DumpCounts {
  readonly jobs: number;
  readonly keys: number;
  readonly workers: number;
  readonly tokens: number;
  readonly auditEntries: number;
  readonly providers: number;
  readonly providerEvents: number;
  readonly providerStates: number;
}

/** A store that nobody else uses meanwhile. */
export interface StoreDump extends AsyncDisposable {
  /** Everything, with bounded memory. Sequences of audit entries and of events of providers grow. */
  dump(): AsyncIterable<DumpRecord>;
  /**
   * Takes a dump into an empty store; versions, ids, sequences and times stay. Errors: `failed_precondition` when it is not empty, `invalid_argument` for a dump that is
   * of another format or not whole; nothing is kept then.
   */
  load(records: AsyncIterable<DumpRecord>): Promise<DumpCounts>;
}

/** Checks that a dump is whole while it passes, and counts. */
export class DumpReader {
  #records = 0;
  #hasHead = false;
  #isWhole = false;
  readonly #counts = {
    jobs: 0,
    keys: 0,
    workers: 0,
    tokens: 0,
    auditEntries: 0,
    providers: 0,
    providerEvents: 0,
    providerStates: 0,
  };

  /** The records between head and foot. Error: `invalid_argument` when something is missing. */
  async *read(records: AsyncIterable<DumpRecord>): AsyncGenerator<DumpedRow> {
    for await (const record of records) {
      if (this.#isWhole) throw broken("goes on behind its end");
      if (record.kind === "head") {
        if (record.format !== dumpFormat) throw broken("is of another format");
        this.#hasHead = true;
      } else if (!this.#hasHead) {
        throw broken("has no head");
      } else if (record.kind === "foot") {
        if (record.records !== this.#records) throw broken("is not whole");
        this.#isWhole = true;
      } else {
        this.#records++;
        this.#counts[plurals[record.kind]]++;
        yield record;
      }
    }
    if (!this.#isWhole) throw broken("is not whole");
  }

  get counts(): DumpCounts {
    return { ...this.#counts };
  }
}

/** A record between head and foot. */
export type DumpedRow = Exclude<DumpRecord, { readonly kind: "head" | "foot" }>;

const plurals = {
  job: "jobs",
  key: "keys",
  worker: "workers",
  token: "tokens",
  audit: "auditEntries",
  provider: "providers",
  provider_event: "providerEvents",
  provider_state: "providerStates",
} as const satisfies Record<DumpedRow["kind"], keyof DumpCounts>;

/** Puts head and foot around rows. */
export async function* wholeDump(
  rows: AsyncIterable<DumpedRow> | Iterable<DumpedRow>,
): AsyncGenerator<DumpRecord> {
  yield { kind: "head", format: dumpFormat };
  let records = 0;
  for await (const row of rows) {
    records++;
    yield row;
  }
  yield { kind: "foot", records };
}

/** One line of NDJSON, without its line feed. Bytes become `{"$bytes": base64}`. */
export function encodeRecord(record: DumpRecord): string {
  return JSON.stringify(record, function (this: Record<string, unknown>, key, shown: unknown) {
    // A Buffer has become an object by now; the field itself has not.
    const field = this[key];
    return field instanceof Uint8Array ? { $bytes: Buffer.from(field).toString("base64") } : shown;
  });
}

/** Error: `invalid_argument` when it is no record. */
export function decodeRecord(line: string): DumpRecord {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === "object" && value !== null && "kind" in value) {
      // The format's number stands for the rest.
      return revive(value) as DumpRecord;
    }
  } catch {
    // Told below.
  }
  throw broken("has a line that is no record");
}

function revive(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(revive);
  if ("$bytes" in value && typeof value.$bytes === "string") {
    return new Uint8Array(Buffer.from(value.$bytes, "base64"));
  }
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, revive(field)]));
}

function broken(problem: string): HodeiError {
  return new HodeiError("invalid_argument", `the dump ${problem}`);
}
