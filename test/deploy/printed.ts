import { parseAllDocuments } from "yaml";
import { defaultsOf, type KubernetesConfig } from "#provider/kubernetes/config.ts";
import { defaultServerImage, printManifests } from "#provider/kubernetes/manifests.ts";
import type { PolicyRule } from "#provider/kubernetes/permissions.ts";

/** What the tests look at. */
export interface Found {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels: Record<string, string>;
  };
  readonly rules: PolicyRule[];
  readonly roleRef: { readonly kind: string; readonly name: string };
  readonly subjects?: {
    readonly kind: string;
    readonly name: string;
    readonly namespace: string;
  }[];
  readonly data: Record<string, string>;
  readonly automountServiceAccountToken?: boolean;
  readonly spec: {
    readonly selector: object;
    readonly podSelector: object;
    readonly template: {
      readonly metadata: { readonly labels: Record<string, string> };
      readonly spec: Pod;
    };
  };
}

export const standard = defaultsOf("standard");
export const legacy = defaultsOf("legacy");
export const dynamic: KubernetesConfig = {
  ...standard,
  dynamicNamespaces: true,
  attestation: true,
  prePullImage: true,
  imagePullSecrets: ["regcred"],
};
const variants = { standard, legacy, dynamic };
/** One configuration of each kind. */
export const named = Object.entries(variants).map(([name, config]) => ({ name, config }));

/** As somebody else reads what was printed. */
export function printed(
  config: KubernetesConfig,
  store: "embedded" | "redis" = "embedded",
): Found[] {
  const text = printManifests({ config, serverImage: defaultServerImage, store });
  return parseAllDocuments(text).map((document) => document.toJS() as Found);
}

export function get(objects: readonly Found[], kind: string, name?: string): Found {
  const found = objects.find(
    (one) => one.kind === kind && (name === undefined || one.metadata.name === name),
  );
  if (found === undefined) throw new Error(`there is no ${kind} ${name ?? ""}`);
  return found;
}

export interface Pod {
  readonly enableServiceLinks: boolean;
  readonly securityContext: object;
  readonly volumes: { readonly name: string }[];
  readonly terminationGracePeriodSeconds: number;
  readonly topologySpreadConstraints: {
    readonly topologyKey: string;
    readonly labelSelector: object;
  }[];
  readonly containers: {
    readonly env: { readonly name: string; readonly value: string }[];
    readonly securityContext: object;
    readonly volumeMounts: { readonly name: string }[];
  }[];
}
