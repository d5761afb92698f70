import { isIP } from "node:net";
import { z } from "zod";
import { addressesIn } from "#addresses.ts";

// The kinds of settings: each takes the text of a variable or the value of a file, and says in one line what is wrong with it.

export function text(standard: string, description: string) {
  return z
    .string()
    .refine((value) => !value.includes("\0"), "holds a NUL")
    .transform((value) => value.trim())
    .default(standard)
    .describe(description);
}

/** Addresses in `host:port` between commas, kept as one text; may be empty. */
export function addresses(description: string) {
  return text("", description).superRefine((value, context) => {
    try {
      if (value !== "") addressesIn(value);
    } catch (error) {
      context.addIssue({ code: "custom", message: error instanceof Error ? error.message : "" });
    }
  });
}

export interface Bounds {
  readonly least: number;
  readonly most: number;
  readonly standard: number;
}

export function whole({ least, most, standard }: Bounds, description: string) {
  const message = `has to be a whole number from ${least} to ${most}`;
  const fromText = (value: unknown): unknown =>
    typeof value === "string" && /^\s*\d{1,16}\s*$/.test(value) ? Number(value) : value;
  return z
    .preprocess(fromText, z.int({ error: message }).min(least, message).max(most, message))
    .default(standard)
    .describe(description);
}

export function flag(standard: boolean, description: string) {
  const values: Readonly<Record<string, boolean>> = {
    "1": true,
    true: true,
    "0": false,
    false: false,
  };
  return z
    .preprocess(
      (value) =>
        typeof value === "string" ? (values[value.trim().toLowerCase()] ?? value) : value,
      z.boolean({ error: "has to be 1, 0, true or false" }),
    )
    .default(standard)
    .describe(description);
}

/** A switch whose default depends on others. */
export function maybe(description: string) {
  const values: Readonly<Record<string, boolean | "">> = {
    "1": true,
    true: true,
    "0": false,
    false: false,
    "": "",
  };
  return z
    .preprocess(
      (value) =>
        typeof value === "string" ? (values[value.trim().toLowerCase()] ?? value) : value,
      z.union([z.literal(""), z.boolean()], { error: "has to be 1, 0, true or false" }),
    )
    .default("")
    .describe(description);
}

export function choice<Value extends string>(
  { values, standard }: { readonly values: readonly Value[]; readonly standard: Value },
  description: string,
) {
  return z
    .string()
    .transform((value) => value.trim().toLowerCase())
    .pipe(z.enum(values, { error: `has to be one of ${values.join(", ")}` }))
    .default(() => standard)
    .describe(description);
}

export function json<Schema extends z.ZodType>(
  inner: Schema,
  standard: z.output<Schema>,
  description: string,
) {
  return z
    .preprocess((value, context) => {
      if (typeof value !== "string") return value;
      try {
        return JSON.parse(value) as unknown;
      } catch {
        context.addIssue({ code: "custom", message: "is not JSON" });
        return z.NEVER;
      }
    }, inner)
    .default(standard as never)
    .describe(description);
}

/** A JSON list, or texts between commas. */
export function list<Item>(item: z.ZodType<Item>, description: string) {
  return z
    .preprocess((value, context) => {
      if (typeof value !== "string") return value;
      if (!value.trimStart().startsWith("[")) {
        const items = value.split(",").map((text) => text.trim());
        return items.filter((text) => text !== "");
      }
      try {
        return JSON.parse(value) as unknown;
      } catch {
        context.addIssue({ code: "custom", message: "is not JSON" });
        return z.NEVER;
      }
    }, z.array(item).max(100))
    .default([])
    .describe(description);
}

/** Whether a certificate can be made out for it. */
export function isHostName(text: string): boolean {
  const label = "[A-Za-z0-9](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?";
  return isIP(text) !== 0 || new RegExp(`^${label}(?:\\.${label}){0,30}$`).test(text);
}

export type DeepReadonly<Value> = Value extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : Value extends object
    ? { readonly [Key in keyof Value]: DeepReadonly<Value[Key]> }
    : Value;

/** Freezes a value and all that it holds. */
export function deepFreeze<Value>(value: Value): DeepReadonly<Value> {
  if (typeof value === "object" && value !== null) Object.values(value).forEach(deepFreeze);
  return Object.freeze(value) as DeepReadonly<Value>;
}

/** Idle workers of some classes. */
export const warmPool = z
  .array(
    z
      .strictObject({
        count: z.int().min(0).max(1_000),
        image: z.string().default(""),
        cpuMillis: z.int().min(0).default(0),
        memoryBytes: z.int().min(0).default(0),
        diskBytes: z.int().min(0).default(0),
        gpuCount: z.int().min(0).default(0),
        gpuType: z.string().default(""),
        provider: z.string().default(""),
        tenant: z.string().default(""),
        strict: z.boolean().default(false),
      })
      .refine(({ strict, provider }) => !strict || provider !== "", {
        error: "needs a provider to insist on",
        path: ["strict"],
      }),
  )
  .max(100);

/** `logTtlMs` → `HODEI_LOG_TTL_MS`. */
export function variableName(key: string): string {
  return `HODEI_${key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** One line about what is wrong, beginning with the variable. */
export function describe(issue: z.core.$ZodIssue): string {
  if (issue.code === "unrecognized_keys" && issue.path.length === 0) {
    return `HODEI_CONFIG_FILE: ${issue.keys.join(", ")}: not a setting of this version`;
  }
  const [key, ...rest] = issue.path;
  const place = rest.length === 0 ? "" : ` at ${rest.join(".")}`;
  return `${variableName(String(key))}: ${issue.message}${place}`;
}
