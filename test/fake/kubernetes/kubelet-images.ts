import { createHash } from "node:crypto";
import { join } from "node:path";

/** How one try at pulling an image ends; text is a registry's answer of one's own. */
export type Pull =
  | "ok"
  | "not_found"
  | "unauthorized"
  | "busy"
  | "broken"
  | "no_such_host"
  | "never_ends"
  | { readonly error: string };

/** What stands behind a name of an image: there is no root file system, only what would be run. */
export interface Image {
  /** Its ENTRYPOINT and CMD in one, for containers that name no command. */
  readonly command?: readonly string[];
  /** Programs that only the image has: what a container's command begins with, and what is run in its place. */
  readonly programs?: Readonly<Record<string, readonly string[]>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly workingDir?: string;
  /** Its USER; root by default. */
  readonly user?: number;
  /** How each try at pulling it ends, the last one for ever; an image without is already on every node. */
  readonly pull?: Pull | readonly Pull[];
  readonly pullMs?: number;
  /** The runtime refuses to start it, with this message. */
  readonly startError?: string;
}

export type Images = Readonly<Record<string, Image>>;

/** What alpine has is taken from this machine. */
export const defaultImages: Images = {
  "alpine:latest": { command: ["sh"] },
  "node:24-bookworm-slim": { programs: { node: [process.execPath] }, command: [process.execPath] },
};

/** The agent from its sources, in the place of the image that the product's Dockerfile makes. */
export function agentImage(more: Partial<Image> = {}): Image {
  const main = join(import.meta.dirname, "../../../src/agent/main.ts");
  const command = [process.execPath, "--max-semi-space-size=1", main];
  return {
    command,
    programs: { "/usr/local/bin/hodei-jobs-worker": command },
    user: 1000,
    workingDir: "/home/hodei",
    env: { HOME: "/home/hodei" },
    ...more,
  };
}

export const agentImageName = "hodei-jobs-worker:latest";

/** Why a name is no name of an image, as the kubelet says it. */
export function imageNameProblem(name: string): string | undefined {
  const repository = name.replace(/@sha256:[0-9a-f]{64}$/, "").replace(/:[^:/]*$/, "");
  const path = repository.includes("/") ? repository.slice(repository.indexOf("/")) : repository;
  const parse = `Failed to apply default image tag "${name}": couldn't parse image name "${name}": invalid reference format`;
  if (/[A-Z]/.test(path))
    return `${parse}: repository name (${path.slice(path.startsWith("//") ? 1 : 0)}) must be lowercase`;
  if (!/^[\w.-]+(:\d+)?(\/[\w.-]+)*$/.test(repository)) return parse;
  return undefined;
}

/** What the container runtime says of a failed pull. */
export function pullError(name: string, pull: Exclude<Pull, "ok" | "never_ends">): string {
  const resolve = `failed to pull and unpack image "${name}": failed to resolve image:`;
  const { host, url } = registryOf(name);
  if (typeof pull === "object") return pull.error;
  switch (pull) {
    case "not_found":
      return `rpc error: code = NotFound desc = ${resolve} ${name}: not found`;
    case "unauthorized":
      return `${resolve} unexpected status from HEAD request to ${url}: 401 Unauthorized`;
    case "busy":
      return `${resolve} unexpected status from HEAD request to ${url}: 429 Too Many Requests`;
    case "broken":
      return `${resolve} unexpected status from HEAD request to ${url}: 500 Internal Server Error`;
    case "no_such_host":
      return `${resolve} failed to do request: Head "${url}": dial tcp: lookup ${host} on 10.255.255.53:53: no such host`;
  }
}

/** The full name that a status shows once the image is known. */
export function resolvedName(name: string): string {
  const { host, path } = partsOf(name);
  return `${host}/${path}`;
}

export function imageId(name: string): string {
  return `sha256:${createHash("sha256").update(name).digest("hex")}`;
}

function registryOf(name: string): { host: string; url: string } {
  const { host, path } = partsOf(name);
  const [, repository = path, tag = "latest"] = /^(.*?)(?::([^:/]*))?$/.exec(path) ?? [];
  const scheme = host.startsWith("localhost") || host.startsWith("127.") ? "http" : "https";
  return { host, url: `${scheme}://${host}/v2/${repository}/manifests/${tag}` };
}

function partsOf(name: string): { host: string; path: string } {
  const [first = "", ...rest] = name.split("/");
  if (rest.length > 0 && (/[.:]/.test(first) || first === "localhost")) {
    return { host: first, path: rest.join("/") };
  }
  return { host: "docker.io", path: rest.length === 0 ? `library/${name}` : name };
}
