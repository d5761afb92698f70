import { randomUUID } from "node:crypto";

import type { KubeObject, Objects } from "./objects.ts";
import { apiVersionOf, resourceTypes, type Resource } from "./resources.ts";
import { selectorOf } from "./selectors.ts";
import { badRequest, expired } from "./status.ts";

interface Rest {
  readonly items: readonly KubeObject[];
  readonly revision: number;
}

/** Lists, in pages that stay as they were when the first one was asked for. */
export class Lists {
  private readonly rests = new Map<string, Rest>();
  private readonly objects: Objects;

  constructor(objects: Objects) {
    this.objects = objects;
  }

  list(resource: Resource, namespace: string, query: URLSearchParams): object {
    const type = resourceTypes[resource];
    const rest = this.restOf(resource, namespace, query);
    const limit = Number(query.get("limit") ?? 0);
    const page = limit > 0 ? rest.items.slice(0, limit) : rest.items;
    const left = rest.items.slice(page.length);
    const token = left.length === 0 ? "" : this.keep({ items: left, revision: rest.revision });
    const isSelected = query.has("labelSelector") || query.has("fieldSelector");
    return {
      kind: `${type.kind}List`,
      apiVersion: apiVersionOf(type),
      metadata: {
        resourceVersion: String(rest.revision),
        ...(token === "" ? {} : { continue: token }),
        ...(token === "" || isSelected ? {} : { remainingItemCount: left.length }),
      },
      // As on a real server, items do not repeat what they are.
      items: page.map(({ kind: _kind, apiVersion: _apiVersion, ...item }) => item),
    };
  }

  /** All tokens that were given out are too old from now on. */
  expire(): void {
    this.rests.clear();
  }

  private restOf(resource: Resource, namespace: string, query: URLSearchParams): Rest {
    const token = query.get("continue") ?? "";
    if (token !== "") {
      const rest = this.rests.get(token);
      if (rest !== undefined) return rest;
      if (!token.startsWith(tokenStart)) {
        throw badRequest(
          "invalid continue token: continue key is not valid: invalid character looking for beginning of value",
        );
      }
      throw expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
      );
    }
    const version = query.get("resourceVersion") ?? "";
    if (!/^\d*$/.test(version)) {
      throw badRequest(
        `invalid resource version: resourceVersion: Invalid value: "${version}": strconv.ParseUint: parsing "${version}": invalid syntax`,
      );
    }
    const matches = selectorOf(resource, query);
    const items = this.objects
      .list(resource, namespace)
      .filter(matches)
      .toSorted((one, other) => (keyOf(one) < keyOf(other) ? -1 : 1));
    return { items, revision: this.objects.revision };
  }

  private keep(rest: Rest): string {
    const token = Buffer.from(
      JSON.stringify({ v: "meta.k8s.io/v1", start: randomUUID() }),
    ).toString("base64url");
    this.rests.set(token, rest);
    const [oldest] = this.rests.keys();
    if (this.rests.size > 200 && oldest !== undefined) this.rests.delete(oldest);
    return token;
  }
}

const tokenStart = Buffer.from('{"v":').toString("base64url").slice(0, 6);

function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace ?? ""}/${metadata.name}`;
}
