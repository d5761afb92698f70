import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

import type { Objects, Pod } from "./objects.ts";
import { specOf, userOf, whereOf, type Container, type Volume } from "./kubelet-types.ts";
import { fieldOf } from "./kubelet-env.ts";

/** A token of the pod's service account, bound to the pod. */
export type IssueToken = (request: {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly audiences: readonly string[];
  readonly expirationSeconds: number;
  readonly pod: { readonly name: string; readonly uid: string };
  readonly node: string;
}) => string;

export interface VolumeContext {
  readonly objects: Objects;
  readonly issueToken: IssueToken;
  /** Where this pod's volumes are made. */
  readonly directory: string;
  /** Where what outlives pods is kept. */
  readonly claims: string;
}

interface File {
  readonly content: Buffer;
  readonly mode: number;
}

const isRoot = process.getuid?.() === 0;

/** Writes one volume, again if it is there already; throws what FailedMount says. */
export function writeVolume(pod: Pod, volume: Volume, context: VolumeContext): void {
  const directory = join(context.directory, volume.name);
  const files = filesOf(pod, volume, context);
  if (files !== undefined) {
    writeAtomically(pod, directory, files);
    return;
  }
  if (volume.hostPath !== undefined) {
    linkTo(directory, volume.hostPath.path);
    return;
  }
  if (volume.persistentVolumeClaim !== undefined) {
    const { namespace } = whereOf(pod);
    const claim = join(context.claims, namespace, volume.persistentVolumeClaim.claimName);
    mkdirSync(claim, { recursive: true });
    chmodSync(claim, 0o777);
    linkTo(directory, claim);
    return;
  }
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o777);
}

/** Whether a change of this object must be written into the volume again. */
export function volumeUses(volume: Volume, resource: string, name: string): boolean {
  const sources = [volume, ...(volume.projected?.sources ?? [])];
  if (resource === "configmaps") return sources.some(({ configMap }) => configMap?.name === name);
  if (resource !== "secrets") return false;
  return (
    volume.secret?.secretName === name ||
    (volume.projected?.sources ?? []).some(({ secret }) => secret?.name === name)
  );
}

/** What stands for a path of the container: there is no root file system to put it at. */
export function mountsOf(container: Container, directory: string): Map<string, string> {
  return new Map(
    (container.volumeMounts ?? []).map(({ mountPath, name, subPath }) => [
      mountPath.replace(/(?<=.)\/+$/, ""),
      join(directory, name, subPath ?? ""),
    ]),
  );
}

function filesOf(pod: Pod, volume: Volume, context: VolumeContext): Map<string, File> | undefined {
  const { secret, configMap, downwardAPI, projected } = volume;
  const projections = projected?.sources ?? [];
  const mode = projected?.defaultMode ?? 0o644;
  if (secret !== undefined) {
    return keyFiles(
      pod,
      { ...secret, name: secret.secretName ?? "" },
      { resource: "secrets", context },
    );
  }
  if (configMap !== undefined) {
    return keyFiles(pod, configMap, { resource: "configmaps", context });
  }
  if (downwardAPI !== undefined) {
    return downwardFiles(pod, downwardAPI.items ?? [], downwardAPI.defaultMode ?? 0o644);
  }
  if (projected === undefined) return undefined;
  return new Map(
    projections.flatMap((source) => [
      ...(source.secret === undefined
        ? []
        : keyFiles(pod, { ...source.secret, defaultMode: mode }, { resource: "secrets", context })),
      ...(source.configMap === undefined
        ? []
        : keyFiles(
            pod,
            { ...source.configMap, defaultMode: mode },
            { resource: "configmaps", context },
          )),
      ...(source.downwardAPI === undefined
        ? []
        : downwardFiles(pod, source.downwardAPI.items ?? [], mode)),
      ...(source.serviceAccountToken === undefined
        ? []
        : tokenFile(pod, source.serviceAccountToken, { mode, context })),
    ]),
  );
}

interface KeySource {
  readonly name?: string;
  readonly items?: readonly { key: string; path: string; mode?: number }[];
  readonly defaultMode?: number;
  readonly optional?: boolean;
}

function keyFiles(
  pod: Pod,
  source: KeySource,
  from: { readonly resource: "secrets" | "configmaps"; readonly context: VolumeContext },
): Map<string, File> {
  const { name = "", items, defaultMode = 0o644, optional = false } = source;
  const kind = from.resource === "secrets" ? "secret" : "configmap";
  const content = contentOf(from.context.objects, from.resource, { ...whereOf(pod), name });
  if (content === undefined) {
    if (optional) return new Map();
    throw new Error(`${kind} "${name}" not found`);
  }
  const all = [...content.keys()].map((key) => ({ key, path: key, mode: undefined }));
  return new Map(
    (items ?? all).flatMap(({ key, path, mode }) => {
      const bytes = content.get(key);
      if (bytes !== undefined) return [[path, { content: bytes, mode: mode ?? defaultMode }]];
      if (optional) return [];
      throw new Error(
        `references non-existent ${kind === "secret" ? "secret" : "config"} key: ${key}`,
      );
    }),
  );
}

/** The keys of a Secret or ConfigMap with their bytes; undefined if there is none. */
export function contentOf(
  objects: Objects,
  resource: "secrets" | "configmaps",
  { name, namespace }: { readonly name: string; readonly namespace: string },
): Map<string, Buffer> | undefined {
  if (resource === "secrets") {
    const secret = objects.get("secrets", name, namespace);
    if (secret === undefined) return undefined;
    return decoded(secret.data);
  }
  const map = objects.get("configmaps", name, namespace);
  if (map === undefined) return undefined;
  const text = Object.entries(map.data ?? {}).map(
    ([key, value]) => [key, Buffer.from(value)] as const,
  );
  return new Map([...text, ...decoded(map.binaryData)]);
}

function decoded(data: Readonly<Record<string, string>> | undefined): Map<string, Buffer> {
  return new Map(
    Object.entries(data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64")]),
  );
}

function downwardFiles(
  pod: Pod,
  items: readonly { path: string; fieldRef?: { fieldPath: string }; mode?: number }[],
  defaultMode: number,
): Map<string, File> {
  return new Map(
    items.map(({ path, fieldRef, mode }) => [
      path,
      { content: Buffer.from(fieldOf(pod, fieldRef?.fieldPath ?? "")), mode: mode ?? defaultMode },
    ]),
  );
}

function tokenFile(
  pod: Pod,
  source: { path: string; audience?: string; expirationSeconds?: number },
  { mode, context }: { readonly mode: number; readonly context: VolumeContext },
): Map<string, File> {
  const { name, namespace } = whereOf(pod);
  const token = context.issueToken({
    namespace,
    serviceAccount: specOf(pod).serviceAccountName ?? "default",
    audiences: source.audience === undefined ? [] : [source.audience],
    expirationSeconds: source.expirationSeconds ?? 3600,
    pod: { name, uid: pod.metadata.uid },
    node: specOf(pod).nodeName ?? "",
  });
  const isOwned = ownerOf(pod) !== undefined || specOf(pod).securityContext?.fsGroup !== undefined;
  const content = Buffer.from(token);
  return new Map([[source.path, { content, mode: isOwned ? 0o600 : mode }]]);
}

/** As the kubelet does: a new directory, then one link moved over, so that a reader sees all old or all new. */
function writeAtomically(pod: Pod, directory: string, files: ReadonlyMap<string, File>): void {
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o755);
  const version = mkdtempSync(join(directory, `..${new Date().toISOString().slice(0, 10)}_`));
  chmodSync(version, 0o755);
  for (const [path, file] of files) {
    const target = join(version, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, file.content);
    permit(pod, target, file.mode);
  }
  const data = join(directory, "..data");
  const old = linkOf(data);
  symlinkSync(basename(version), `${data}_tmp`);
  renameSync(`${data}_tmp`, data);
  for (const top of new Set([...files.keys()].map((path) => path.split("/")[0] ?? path))) {
    linkTo(join(directory, top), join("..data", top));
  }
  if (old !== undefined) rmSync(join(directory, old), { recursive: true, force: true });
}

/** A file belongs to root unless the pod has a group for its files; without root's rights, what the container could not read is taken away from all. */
function permit(pod: Pod, path: string, mode: number): void {
  const group = specOf(pod).securityContext?.fsGroup;
  const owner = ownerOf(pod);
  const isToken = mode === 0o600;
  const allowed = group === undefined ? mode : mode | 0o440;
  if (isRoot) {
    chownSync(path, isToken ? (owner ?? 0) : 0, group ?? 0);
    chmodSync(path, allowed);
    return;
  }
  const isReadable = (allowed & 0o044) !== 0 || (owner ?? 0) === 0 || isToken;
  chmodSync(path, isReadable ? allowed | 0o400 : 0);
}

/** The user, if all containers have the same. */
function ownerOf(pod: Pod): number | undefined {
  const { containers, initContainers = [] } = specOf(pod);
  const users = new Set([...containers, ...initContainers].map((one) => userOf(pod, one).uid));
  return users.size === 1 ? [...users][0] : undefined;
}

function linkTo(path: string, target: string): void {
  if (linkOf(path) === target) return;
  rmSync(path, { force: true });
  symlinkSync(target, path);
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
