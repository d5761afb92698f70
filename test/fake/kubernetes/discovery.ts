import { apiVersionOf, resourceTypes } from "./resources.ts";

export const serverVersion = {
  major: "1",
  minor: "36",
  gitVersion: "v1.36.2",
  gitCommit: "double",
  gitTreeState: "clean",
  buildDate: "2026-10-01T00:00:00Z",
  goVersion: "go1.26.0",
  compiler: "gc",
  platform: "linux/amd64",
};

const verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/** Resources that are only created, and subresources: name, kind, group/version, verbs. */
const others: readonly (readonly [string, string, string, readonly string[]])[] = [
  ["pods/log", "Pod", "v1", ["get"]],
  ["pods/status", "Pod", "v1", ["get", "patch", "update"]],
  ["pods/eviction", "Eviction", "v1", ["create"]],
  ["pods/binding", "Binding", "v1", ["create"]],
  ["serviceaccounts/token", "TokenRequest", "v1", ["create"]],
  ["tokenreviews", "TokenReview", "authentication.k8s.io/v1", ["create"]],
  ["selfsubjectreviews", "SelfSubjectReview", "authentication.k8s.io/v1", ["create"]],
  ["selfsubjectaccessreviews", "SelfSubjectAccessReview", "authorization.k8s.io/v1", ["create"]],
  ["subjectaccessreviews", "SubjectAccessReview", "authorization.k8s.io/v1", ["create"]],
  ["localsubjectaccessreviews", "LocalSubjectAccessReview", "authorization.k8s.io/v1", ["create"]],
  ["selfsubjectrulesreviews", "SelfSubjectRulesReview", "authorization.k8s.io/v1", ["create"]],
];

const types = Object.values(resourceTypes);
const versions = [
  ...new Set([...types.map(apiVersionOf), ...others.map(([, , version]) => version)]),
];

/** What a client reads to learn which resources there are. */
export function discover(path: string): object | string | undefined {
  switch (path) {
    case "/version":
      return serverVersion;
    case "/readyz":
    case "/livez":
    case "/healthz":
      return "ok";
    case "/api":
      return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
    case "/apis":
      return { kind: "APIGroupList", apiVersion: "v1", groups: groups() };
    case "/openapi/v3":
      return {
        paths: Object.fromEntries(versions.map((one) => [rootOf(one).slice(1), openApiLink(one)])),
      };
    default:
      return path.startsWith("/openapi/v3/") ? openApi(path) : resourceList(path);
  }
}

function rootOf(version: string): string {
  return version.includes("/") ? `/apis/${version}` : `/api/${version}`;
}

function openApiLink(version: string): object {
  return { serverRelativeURL: `/openapi/v3${rootOf(version)}?hash=double` };
}

/** Only as much as tells a client that this server checks fields itself. */
function openApi(path: string): object | undefined {
  const version = versions.find((one) => path === `/openapi/v3${rootOf(one)}`);
  if (version === undefined) return undefined;
  const paths = types
    .filter((type) => apiVersionOf(type) === version)
    .map((type) => {
      const where = type.isNamespaced ? "/namespaces/{namespace}" : "";
      const { group, kind } = type;
      const patch = {
        parameters: [{ name: "fieldValidation", in: "query", schema: { type: "string" } }],
        responses: {},
        "x-kubernetes-group-version-kind": { group, version: type.version, kind },
      };
      return [`${rootOf(version)}${where}/${type.plural}/{name}`, { patch }];
    });
  return {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: serverVersion.gitVersion },
    paths: Object.fromEntries(paths),
  };
}

/** Whether there is such a group in such a version at all. */
export function isServed({ group, version }: { group: string; version: string }): boolean {
  return versions.includes(group === "" ? version : `${group}/${version}`);
}

function groups(): object[] {
  return versions
    .filter((version) => version.includes("/"))
    .map((groupVersion) => {
      const [name = "", version = ""] = groupVersion.split("/");
      const preferred = { groupVersion, version };
      return { name, versions: [preferred], preferredVersion: preferred };
    });
}

function resourceList(path: string): object | undefined {
  const version = path.replace(/^\/apis?\//, "");
  if (!/^\/apis?\//.test(path)) return undefined;
  const group = groups().find((one) => "name" in one && one.name === version);
  if (group !== undefined) return { kind: "APIGroup", apiVersion: "v1", ...group };
  if (!versions.includes(version)) return undefined;
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: version,
    resources: [
      ...types
        .filter((type) => apiVersionOf(type) === version)
        .map(({ plural, kind, isNamespaced, shortNames }) => ({
          name: plural,
          singularName: kind.toLowerCase(),
          namespaced: isNamespaced,
          kind,
          verbs,
          ...(shortNames.length === 0 ? {} : { shortNames }),
        })),
      ...others
        .filter(([, , groupVersion]) => groupVersion === version)
        .map(([name, kind, , allowed]) => ({
          name,
          singularName: "",
          namespaced: name.includes("/") || name.startsWith("local"),
          kind,
          verbs: allowed,
        })),
    ],
  };
}
