import { parse } from "yaml";
import { z } from "zod";
import { HodeiError } from "#error.ts";

const most = 256 * 1024;

const text = z.string().max(64 * 1024);
const extensions = z.array(z.unknown()).optional();

/** What a kubeconfig from elsewhere may hold: no programs, and no files of this machine. */
const shape = z.strictObject({
  apiVersion: z.literal("v1").optional(),
  kind: z.literal("Config").optional(),
  preferences: z.record(z.string(), z.unknown()).optional(),
  "current-context": text.optional(),
  extensions,
  clusters: z.array(
    z.strictObject({
      name: text,
      cluster: z.strictObject({
        server: text,
        "certificate-authority-data": text.optional(),
        "insecure-skip-tls-verify": z.boolean().optional(),
        "tls-server-name": text.optional(),
        "proxy-url": text.optional(),
        "disable-compression": z.boolean().optional(),
        extensions,
      }),
    }),
  ),
  users: z.array(
    z.strictObject({
      name: text,
      user: z.strictObject({
        token: text.optional(),
        username: text.optional(),
        password: text.optional(),
        "client-certificate-data": text.optional(),
        "client-key-data": text.optional(),
        extensions,
      }),
    }),
  ),
  contexts: z.array(
    z.strictObject({
      name: text,
      context: z.strictObject({
        cluster: text,
        user: text,
        namespace: text.optional(),
        extensions,
      }),
    }),
  ),
});

/**
 * The kubeconfig in one plain form, so that whoever reads it later reads the same. Error: `invalid_argument`, naming the field and never its value.
 */
export function checkKubeconfig(
  given: string,
  { context = "", allowInsecure }: { readonly context?: string; readonly allowInsecure: boolean },
): string {
  if (given.length > most) throw refusal("", `has more than ${most} characters`);
  const parsed = shape.safeParse(read(given));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw issue === undefined ? refusal("", "is none") : refusal(placeOf(issue), problemOf(issue));
  }
  const { clusters, users, contexts } = parsed.data;
  clusters.forEach(({ cluster }, at) => {
    const field = `clusters[${at}].cluster`;
    const server = URL.parse(cluster.server);
    if (server === null || !["http:", "https:"].includes(server.protocol)) {
      throw refusal(`${field}.server`, "is no URL of an API server");
    }
    if (server.username !== "" || server.password !== "") {
      throw refusal(`${field}.server`, "holds a user; name it under users");
    }
    if (allowInsecure) return;
    if (server.protocol === "http:") throw refusal(`${field}.server`, "is plain HTTP");
    if (cluster["insecure-skip-tls-verify"] === true) {
      throw refusal(`${field}.insecure-skip-tls-verify`, "is not allowed by this server");
    }
  });
  const name = context === "" ? (parsed.data["current-context"] ?? "") : context;
  const chosen = contexts.find((one) => one.name === name)?.context;
  if (chosen === undefined) throw refusal("current-context", "names none of its contexts");
  if (!clusters.some((one) => one.name === chosen.cluster)) {
    throw refusal("contexts", "the chosen one names no cluster of it");
  }
  if (!users.some((one) => one.name === chosen.user)) {
    throw refusal("contexts", "the chosen one names no user of it");
  }
  return JSON.stringify(parsed.data);
}

/** Where a kubeconfig in its plain form leads: two with the same answer are of the same clusters. */
export function serversOf(plain: string): string {
  const { clusters } = JSON.parse(plain) as z.output<typeof shape>;
  return clusters.map(({ cluster }) => cluster.server).join(" ");
}

function read(given: string): unknown {
  try {
    return parse(given, { maxAliasCount: 10, logLevel: "error" });
  } catch {
    // What the parser says would quote from it.
    throw refusal("", "is not YAML");
  }
}

function placeOf(issue: z.core.$ZodIssue): string {
  const keys = issue.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
  return [...issue.path, ...keys]
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key).slice(0, 64)}`))
    .join("")
    .replace(/^\./, "");
}

function problemOf(issue: z.core.$ZodIssue): string {
  if (issue.code === "unrecognized_keys") {
    return "is not allowed here: only tokens, passwords and embedded certificates are";
  }
  return "is missing or has another type";
}

function refusal(place: string, problem: string): HodeiError {
  const field = place === "" ? "kubeconfig" : `kubeconfig: ${place}`;
  return new HodeiError("invalid_argument", `${field}: ${problem}`);
}
