import type { z } from "zod";
import type { Credentials } from "#api/provider-registry.ts";
import type { Config } from "#config.ts";
import { invalid } from "#error.ts";
import { runtimesProblem } from "#job/runtime.ts";
import { checkKubeconfig } from "#provider/kubernetes/kubeconfig-check.ts";
import type { ProviderTerms, ProviderType } from "#worker/provider-record.ts";
import { dockerShape } from "./config-docker.ts";
import { isKubernetesEnabled, kubernetesShape } from "./config-kubernetes.ts";

/*
 * A record's configuration is a JSON object of the same settings that the server has for the type, without their prefix: `namespace` is what HODEI_K8S_NAMESPACE
 * is, and stands in its place.
 */

export interface ConfigRules {
  /** Whose hand wrote it: whoever writes the server's files may name files and machines that a caller may not. */
  readonly source: "api" | "file";
  readonly server: Config;
  /** Its own. */
  readonly credentials: Credentials | undefined;
}

const shapes = {
  kubernetes: { prefix: "k8s", shape: kubernetesShape },
  docker: { prefix: "docker", shape: dockerShape },
  process: { prefix: "process", shape: {} },
} as const;

/** Settings that are the record's terms or the server's own business. */
const closed = new Set([
  "enabled",
  "instanceId",
  "kubeconfigFallback",
  "maxWorkers",
  "pricePerHour",
]);
/** Files of the server's machine. */
const files = new Set(["kubeconfig", "certDirectory", "registryConfigFile"]);

/** The server's settings with those of the record in their place. Error: `invalid_argument`, naming the key. */
export function mergedConfig(
  type: ProviderType,
  config: Readonly<Record<string, unknown>>,
  rules: ConfigRules,
): Config {
  const { prefix, shape } = shapes[type];
  const fields: Readonly<Record<string, z.ZodType>> = shape;
  const merged: Record<string, unknown> = { ...rules.server, ...forgotten(type, config, rules) };
  for (const [key, value] of Object.entries(config)) {
    const path = `config.${key.slice(0, 64)}`;
    const name = settingOf(prefix, key);
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (field === undefined || closed.has(key)) {
      throw invalid(path, `is not a setting of a ${type} provider`);
    }
    if (files.has(key) && rules.source === "api") {
      throw invalid(path, "names a file of the server; give the credentials themselves");
    }
    const parsed = field.safeParse(value);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      const place =
        issue === undefined || issue.path.length === 0 ? "" : ` at ${issue.path.join(".")}`;
      throw invalid(path, `${issue?.message ?? "is wrong"}${place}`);
    }
    merged[name] = parsed.data;
  }
  const whole = merged as Config;
  if (rules.source === "api") checkCallersConfig(type, whole, rules);
  return whole;
}

/** What the server has for its own cluster or engine is not for another. */
function forgotten(
  type: ProviderType,
  config: Readonly<Record<string, unknown>>,
  { credentials }: ConfigRules,
): Partial<Config> {
  // The server's context is one of the server's kubeconfig.
  if (type === "kubernetes") return credentials === undefined ? {} : { k8sContext: "" };
  if (type !== "docker" || !("host" in config)) return {};
  return { dockerCertDirectory: "", dockerRegistryConfigFile: "", dockerServerAddress: "" };
}

function settingOf(prefix: string, key: string): string {
  if (key === "image") return "workerImage";
  return `${prefix}${key.slice(0, 1).toUpperCase()}${key.slice(1)}`;
}

/** What a caller may not do, though it is a setting: reach what the operator has not opened. */
function checkCallersConfig(
  type: ProviderType,
  merged: Config,
  { server, credentials }: ConfigRules,
): void {
  if (type === "process" && server.processEnabled === false) {
    throw invalid("type", "this server runs no processes (HODEI_PROCESS_ENABLED)");
  }
  if (type === "kubernetes") {
    if (merged.k8sAllowInsecure && !server.k8sAllowInsecure) {
      throw invalid("config.allowInsecure", "is not allowed by this server");
    }
    if (credentials === undefined && !isKubernetesEnabled(server)) {
      throw invalid("credentials.kubeconfig", "is needed: this server has no cluster of its own");
    }
  }
  if (type === "docker") checkDockerHost(merged.dockerHost, { server, credentials });
}

/** Who may use the engine of a machine owns the machine. */
function checkDockerHost(
  host: string,
  { server, credentials }: Pick<ConfigRules, "server" | "credentials">,
): void {
  if (server.dockerEnabled && host === server.dockerHost) return;
  const url = URL.parse(host);
  if (url === null || !["tcp:", "https:"].includes(url.protocol)) {
    const problem = "has to be a tcp:// address: only its own engine is local to this server";
    throw invalid("config.host", problem);
  }
  if (credentials === undefined && url.protocol !== "https:") {
    throw invalid("credentials.docker_ca", "is needed: an engine is spoken to with TLS only");
  }
}

/** The credentials as they are stored. Error: `invalid_argument`, naming the field and never its value. */
export function checkCredentials(
  type: ProviderType,
  given: Credentials,
  {
    config,
    server,
  }: { readonly config: Readonly<Record<string, unknown>>; readonly server: Config },
): Credentials {
  const { kubeconfig, dockerCa, dockerCert, dockerKey } = given;
  const pems = { docker_ca: dockerCa, docker_cert: dockerCert, docker_key: dockerKey };
  if (type === "kubernetes") {
    for (const [field, text] of Object.entries(pems)) {
      if (text !== "") throw invalid(`credentials.${field}`, "is for docker providers");
    }
    const context = typeof config["context"] === "string" ? config["context"] : "";
    const allowInsecure = server.k8sAllowInsecure;
    return { ...given, kubeconfig: checkKubeconfig(kubeconfig, { context, allowInsecure }) };
  }
  if (kubeconfig !== "") throw invalid("credentials.kubeconfig", "is for kubernetes providers");
  if (type === "process") throw invalid("credentials", "a process provider has none");
  for (const [field, text] of Object.entries(pems)) {
    if (text.length > 64 * 1024 || (text !== "" && !text.includes("-----BEGIN "))) {
      throw invalid(`credentials.${field}`, "is no PEM");
    }
  }
  if ((dockerCert === "") !== (dockerKey === "")) {
    throw invalid("credentials.docker_key", "certificate and key belong together");
  }
  return given;
}

/** Error: `invalid_argument`, naming the term. */
export function checkTerms(terms: Partial<ProviderTerms>): void {
  const { priority, maxWorkers, labels, region, architectures, runtimes } = terms;
  const { maxHours, pricePerHour, startDeadlineMs } = terms;
  checkWhole("priority", priority, [-1_000, 1_000]);
  checkWhole("max_workers", maxWorkers, [1, mostWorkers]);
  checkWhole("max_hours", maxHours, [0, 8_760]);
  checkWhole("start_deadline", startDeadlineMs, [1_000, 86_400_000]);
  const pairs = Object.entries(labels ?? {});
  if (pairs.length > 32) throw invalid("labels", "has more than 32 entries");
  for (const text of pairs.flat()) checkWord("labels", text, 128);
  if (pairs.some(([key]) => key === "")) throw invalid("labels", "has an empty key");
  checkWord("region", region ?? "", 64);
  for (const name of architectures ?? []) {
    if (name !== "amd64" && name !== "arm64") {
      throw invalid("architectures", "have to be amd64 or arm64");
    }
  }
  const problem = runtimesProblem(runtimes ?? []);
  if (problem !== undefined) throw invalid("runtimes", problem);
  for (const price of Object.values(pricePerHour ?? {})) {
    if (!(price >= 0 && price < 1e9)) throw invalid("price_per_hour", "is no price");
  }
}

/** More than any provider runs. */
export const mostWorkers = 1_000_000;

function checkWhole(
  field: string,
  value: number | undefined,
  [least, most]: readonly [number, number],
): void {
  if (value === undefined) return;
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw invalid(field, `has to be a whole number from ${least} to ${most}`);
}

function checkWord(field: string, text: string, most: number): void {
  if (text.length > most) throw invalid(field, `has more than ${most} characters`);
  if (/\p{Cc}/u.test(text)) throw invalid(field, "holds a control character");
}
