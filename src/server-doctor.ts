import { lookup } from "node:dns/promises";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Diagnosis, HealthCheck } from "#cli/host.ts";
import { isKubernetesEnabled } from "./config-kubernetes.ts";
import { type Config, parseConfig } from "#config.ts";
import { HodeiError } from "#error.ts";
import { createLogger } from "#telemetry.ts";
import { checkEntry, readProvidersFile } from "./server-provider-file.ts";
import { kubernetesConfigOf } from "./server-kubernetes.ts";

export interface DoctorInput {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The text of the configuration file, if there is one. Errors: `invalid_argument`. */
  readonly readFile: () => Promise<string | undefined>;
}

/** Everything that would keep a server with these settings from running jobs. Changes nothing. */
export async function diagnoseServer(input: DoctorInput): Promise<Diagnosis> {
  let config: Config;
  const checks: HealthCheck[] = [];
  try {
    const parsed = parseConfig(input.env, await input.readFile());
    config = parsed.config;
    checks.push(
      pass("settings", "all HODEI_* variables are understood"),
      ...parsed.warnings.map((warning) =>
        warn("settings", warning, "Remove it, or correct its name."),
      ),
    );
  } catch (error) {
    return { checks: refusals("settings", error), isReachable: true };
  }
  checks.push(await checkDirectory(config.dataDirectory), ...(await checkAddress(config)));
  checks.push(...(await checkProvidersFile(config)));
  const kubernetes = await checkKubernetes(config);
  return { checks: [...checks, ...kubernetes.checks], isReachable: kubernetes.isReachable };
}

async function checkDirectory(path: string): Promise<HealthCheck> {
  const name = "data directory";
  const directory = resolve(path);
  const there = await nearest(directory);
  try {
    await access(there, constants.W_OK | constants.X_OK);
    const message = there === directory ? "can be written" : "can be made";
    return pass(name, `${directory} ${message}`);
  } catch {
    const hint = `Let user ${process.getuid?.() ?? ""} write ${there}, or set HODEI_DATA_DIRECTORY.`;
    return fail(name, `${there} cannot be written`, hint);
  }
}

/** The path, or the closest folder above it that exists. */
async function nearest(path: string): Promise<string> {
  try {
    await access(path, constants.F_OK);
    return path;
  } catch {
    return path === dirname(path) ? path : nearest(dirname(path));
  }
}

/** Where agents dial: several replicas have an address each. */
async function checkAddress(config: Config): Promise<HealthCheck[]> {
  const given = config.serverAddress === "" ? config.listenAddress : config.serverAddress;
  const checks = given.split(",").map((address) => checkOne(config, address.trim()));
  return Promise.all(checks);
}

/** Only a name can be looked up from here; whether it leads anywhere from a pod is another question. */
async function checkOne(config: Config, given: string): Promise<HealthCheck> {
  const name = "server address";
  const [, bracketed, plain = ""] = /^(?:\[([^\]]+)\]|([^:]+)):\d+$/.exec(given) ?? [];
  const host = bracketed ?? plain;
  const hint = "Set HODEI_SERVER_ADDRESS to host:port as workers can dial it.";
  if (host === "") return fail(name, `${given} is not host:port`, hint);
  const isHere = /^(localhost|127\..*|::1|0\.0\.0\.0|::)$/.test(host);
  if (isHere && isKubernetesEnabled(config)) {
    return fail(name, `no pod reaches the server as ${given}`, hint);
  }
  try {
    const { address } = await lookup(host);
    return pass(name, `${given}${address === host ? "" : ` is ${address}`}`);
  } catch {
    const isInside = /\.svc(\..+)?$/.test(host);
    const message = `${host} is not known here`;
    return isInside
      ? warn(name, `${message}, as names in a cluster are not outside of it`, "")
      : fail(name, message, hint);
  }
}

async function checkProvidersFile(config: Config): Promise<HealthCheck[]> {
  if (config.providersFile === "") return [];
  const name = "providers file";
  try {
    const entries = await readProvidersFile(config.providersFile);
    for (const entry of entries) checkEntry(entry, config);
    return [pass(name, `${config.providersFile} names ${entries.length} providers`)];
  } catch (error) {
    return refusals(name, error);
  }
}

async function checkKubernetes(config: Config): Promise<Diagnosis> {
  const isOn = isKubernetesEnabled(config);
  const isNamed = [config.k8sKubeconfig, config.k8sKubeconfigFallback, config.k8sContext];
  if (!isOn && isNamed.every((text) => text === "")) {
    const off = pass("kubernetes", "off; HODEI_K8S_ENABLED=1 switches it on");
    return { checks: [off], isReachable: true };
  }
  const state = isOn
    ? []
    : [warn("kubernetes", "off, and looked at all the same", "Set HODEI_K8S_ENABLED=1.")];
  try {
    const { diagnose, reachableCheck } = await import("#provider/kubernetes/doctor.ts");
    const options = { log: createLogger("silent") };
    const checks = await diagnose(kubernetesConfigOf(config), options);
    const isReachable = !checks.some(({ name, ok }) => name === reachableCheck && ok === "fail");
    return { checks: [...state, ...checks], isReachable };
  } catch (error) {
    return { checks: [...state, ...refusals("kubernetes", error)], isReachable: true };
  }
}

function refusals(name: string, error: unknown): HealthCheck[] {
  if (!(error instanceof HodeiError)) throw error;
  return error.message.split("\n").map((line) => fail(name, line, error.hint ?? ""));
}

function pass(name: string, message: string): HealthCheck {
  return { name, ok: "pass", message, hint: "" };
}

function warn(name: string, message: string, hint: string): HealthCheck {
  return { name, ok: "warn", message, hint };
}

function fail(name: string, message: string, hint: string): HealthCheck {
  return { name, ok: "fail", message, hint };
}
