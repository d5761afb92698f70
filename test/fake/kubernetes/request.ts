import type { IncomingMessage } from "node:http";

import { isResource, resourceTypes, type Resource } from "./resources.ts";

export type Verb =
  "get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection";

export interface User {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** What a path below /api or /apis means. */
export interface Target {
  readonly group: string;
  readonly version: string;
  /** As in the path; not always one of ours: `tokenreviews`. */
  readonly plural: string;
  readonly namespace: string;
  readonly name: string;
  readonly subresource: string;
}

export interface ApiRequest {
  readonly verb: Verb;
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly target: Target;
  readonly contentType: string;
  readonly body: Buffer;
  readonly user: User;
  /** From `fieldManager`, else the client's name. */
  readonly manager: string;
  readonly isDryRun: boolean;
  readonly warnings: string[];
  readonly signal: AbortSignal;
}

/** Undefined for paths that name no resource. */
export function targetOf(path: string): Target | undefined {
  const parts = path.split("/").slice(1).map(decodeURIComponent);
  const isCore = parts[0] === "api";
  if (!isCore && parts[0] !== "apis") return undefined;
  const [group = "", version = ""] = isCore ? ["", parts[1]] : [parts[1], parts[2]];
  let rest = parts.slice(isCore ? 2 : 3);
  if (rest.length === 0 || rest[0] === "") return undefined;
  let namespace = "";
  if (rest[0] === "namespaces" && rest.length > 2 && !isNamespacePart(rest[2])) {
    namespace = rest[1] ?? "";
    rest = rest.slice(2);
  }
  const [plural = "", name = "", ...subresource] = rest;
  return { group, version, plural, namespace, name, subresource: subresource.join("/") };
}

function isNamespacePart(part: string | undefined): boolean {
  return part === "status" || part === "finalize";
}

/** The resource of a target, if it is one of ours in the group and version that we serve. */
export function resourceOf(target: Target): Resource | undefined {
  if (!isResource(target.plural)) return undefined;
  const type = resourceTypes[target.plural];
  const fits = type.group === target.group && type.version === target.version;
  return fits ? target.plural : undefined;
}

export function verbOf(method: string, target: Target, query: URLSearchParams): Verb | undefined {
  switch (method) {
    case "GET":
    case "HEAD":
      if (isTrue(query.get("watch"))) return "watch";
      return target.name === "" ? "list" : "get";
    case "POST":
      return "create";
    case "PUT":
      return "update";
    case "PATCH":
      return "patch";
    case "DELETE":
      return target.name === "" ? "deletecollection" : "delete";
    default:
      return undefined;
  }
}

export function isTrue(text: string | null): boolean {
  return text === "true" || text === "1";
}

/** `hodei` of `hodei/0.1 node/24`. */
export function managerOf(query: URLSearchParams, request: IncomingMessage): string {
  const agent = request.headers["user-agent"] ?? "unknown";
  return query.get("fieldManager") ?? agent.split("/")[0] ?? "unknown";
}
