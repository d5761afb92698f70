import type { KubernetesConfig } from "./config.ts";
import type { InfrastructureNames, KubernetesObject } from "./infrastructure-parts.ts";

export interface PolicyPlace {
  readonly names: InfrastructureNames;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Nothing in, nothing out; then what a worker cannot do without: names, the server, and the public web where that is wanted. */
export function networkPolicies(
  config: KubernetesConfig,
  { names, ...inside }: PolicyPlace,
): KubernetesObject[] {
  return [
    {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: names.defaultDeny, ...inside },
      spec: { podSelector: {}, policyTypes: ["Ingress", "Egress"] },
    },
    {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: names.networkPolicy, ...inside },
      spec: {
        podSelector: {},
        policyTypes: ["Egress"],
        egress: [
          dns(config),
          controlPlane(config),
          ...(config.networkPolicy.allowHttps ? [https(config)] : []),
        ],
      },
    },
  ];
}

interface EgressRule {
  readonly to: readonly object[];
  readonly ports: readonly object[];
}

function dns({ networkPolicy }: KubernetesConfig): EgressRule {
  return {
    to: [
      ...networkPolicy.dnsNamespaces.map((name) => ({ namespaceSelector: named(name) })),
      ...networkPolicy.dnsCidrs.map((cidr) => ({ ipBlock: { cidr } })),
    ],
    ports: [
      { protocol: "UDP", port: 53 },
      { protocol: "TCP", port: 53 },
    ],
  };
}

function controlPlane({ controlPlane: server }: KubernetesConfig): EgressRule {
  return {
    to:
      server.cidrs.length > 0
        ? server.cidrs.map((cidr) => ({ ipBlock: { cidr } }))
        : [
            {
              namespaceSelector: named(server.namespace),
              podSelector: { matchLabels: server.podLabels },
            },
          ],
    ports: [server.agentPort, ...(server.otherAgentPorts ?? [])].map((port) => ({
      protocol: "TCP",
      port,
    })),
  };
}

function https({ networkPolicy }: KubernetesConfig): EgressRule {
  const isV6 = (cidr: string): boolean => cidr.includes(":");
  const v4 = networkPolicy.exceptCidrs.filter((cidr) => !isV6(cidr));
  const v6 = networkPolicy.exceptCidrs.filter(isV6);
  return {
    to: [
      { ipBlock: { cidr: "0.0.0.0/0", ...(v4.length > 0 && { except: v4 }) } },
      { ipBlock: { cidr: "::/0", ...(v6.length > 0 && { except: v6 }) } },
    ],
    ports: [{ protocol: "TCP", port: 443 }],
  };
}

function named(namespace: string): object {
  return { matchLabels: { "kubernetes.io/metadata.name": namespace } };
}
