import { parseConfig } from "#config.ts";
import { HodeiError } from "#error.ts";
import {
  defaultServerImage,
  type ManifestGroup,
  manifestGroups,
  manifestObjects,
  printManifests,
} from "#provider/kubernetes/manifests.ts";
import type { Manifests, ManifestWish } from "#cli/host.ts";
import { kubernetesConfigOf } from "./server-kubernetes.ts";

/** The manifests for a wish; what it leaves open is as the environment has it: HODEI_K8S_*, and where state and logs are kept. Error: `invalid_argument`. */
export function manifestsOf(
  env: Readonly<Record<string, string | undefined>>,
  wish: ManifestWish,
): Manifests {
  const settings = { ...settingsIn(env), ...settingsFor(wish) };
  const options = {
    config: kubernetesConfigOf(parseConfig(settings).config),
    serverImage: wish.serverImage ?? defaultServerImage,
    store: wish.store ?? "embedded",
    ...(wish.replicas !== undefined && { replicas: wish.replicas }),
    settings,
  } as const;
  const groups = groupsOf(wish);
  const objects = manifestObjects(options);
  return {
    groups,
    objects: groups.flatMap((group) => objects[group]),
    text: printManifests(options, groups),
  };
}

/** What a server in the cluster takes over from the environment of whoever prints its manifests. Nothing secret: that has Secrets. */
const takenOver =
  /^HODEI_(K8S_\w+|WORKER_IMAGE|LOG_(STORE|ARCHIVE\w*|LEVEL|TTL_MS)|S3_(BUCKET|PREFIX|REGION|ENDPOINT|FORCE_PATH_STYLE)|REDIS_(INSTANCE|DURABILITY|TIMEOUT_MS|UNSAFE_ALLOWED))$/;
/** How this machine reaches the cluster is no business of a server in it. */
const ownOnly = /^HODEI_K8S_(ENABLED|KUBECONFIG(_FALLBACK)?|CONTEXT|TEST)$/;

function settingsIn(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const settings: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    const isOurs = takenOver.test(name) && !ownOnly.test(name);
    if (isOurs && value !== undefined && value !== "") settings[name] = value;
  }
  return settings;
}

function settingsFor(wish: ManifestWish): Record<string, string> {
  const settings = {
    HODEI_K8S_NAMES_PROFILE: wish.profile,
    HODEI_K8S_NAMESPACE: wish.namespace,
    HODEI_K8S_CONTROL_NAMESPACE: wish.serverNamespace,
    HODEI_WORKER_IMAGE: wish.image,
    HODEI_K8S_IMAGE_PULL_SECRET: wish.pullSecret,
    HODEI_K8S_ENABLE_DYNAMIC_NAMESPACES: wish.tenantNamespaces === true ? "1" : undefined,
    HODEI_K8S_ENABLE_HPA: wish.hpa === true ? "1" : undefined,
  };
  return Object.fromEntries(
    Object.entries(settings).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value] as const],
    ),
  );
}

function groupsOf({ only, without = [] }: ManifestWish): readonly ManifestGroup[] {
  const wanted = only === undefined ? manifestGroups : named("--only", only);
  const unwanted = named("--without", without);
  const groups = manifestGroups.filter((one) => wanted.includes(one) && !unwanted.includes(one));
  if (groups.length > 0) return groups;
  throw new HodeiError("invalid_argument", "--without: nothing is left to print");
}

function named(flag: string, names: readonly string[]): readonly ManifestGroup[] {
  return names.map((name) => {
    const group = manifestGroups.find((one) => one === name);
    if (group !== undefined) return group;
    const all = manifestGroups.join(", ");
    throw new HodeiError("invalid_argument", `${flag}: ${JSON.stringify(name)} is none of ${all}`);
  });
}
