import { isJson, type Json } from "./field-set.ts";
import type { KubeObject } from "./objects.ts";
import { quantityOf } from "./quantity.ts";
import { cause, type Cause } from "./status.ts";
import {
  keyProblems,
  labelProblem,
  labelValueProblem,
  subdomainProblem,
} from "./validate-metadata.ts";

export function podProblems(pod: KubeObject): Cause[] {
  return podSpecProblems(pod["spec"], "spec");
}

/** Of a pod or of a template. */
export function podSpecProblems(spec: unknown, at: string): Cause[] {
  if (!isJson(spec)) return [cause.required(`${at}.containers`)];
  const containers = listOf(spec, "containers");
  const initContainers = listOf(spec, "initContainers");
  const volumes = listOf(spec, "volumes");
  const names = new Set(volumes.map((volume) => volume["name"]));
  const problems: Cause[] = [];
  problems.push(...volumeProblems(volumes, `${at}.volumes`));
  if (containers.length === 0) problems.push(cause.required(`${at}.containers`));
  const seen = new Set<unknown>();
  for (const [list, items] of [
    ["containers", containers],
    ["initContainers", initContainers],
  ] as const) {
    for (const [index, container] of items.entries()) {
      const place = `${at}.${list}[${index}]`;
      if (seen.has(container["name"]))
        problems.push(cause.duplicate(`${place}.name`, String(container["name"])));
      seen.add(container["name"]);
      problems.push(...containerProblems(container, place, names));
      if (list === "initContainers" && container["restartPolicy"] !== "Always") {
        for (const probe of ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"]) {
          if (container[probe] !== undefined) {
            problems.push(
              cause.forbidden(
                `${place}.${probe}`,
                `may not be set for init containers without restartPolicy=Always`,
              ),
            );
          }
        }
      }
    }
  }
  problems.push(...oneOf(spec, at, "restartPolicy", ["Always", "OnFailure", "Never"]));
  problems.push(
    ...oneOf(spec, at, "dnsPolicy", ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
  );
  const deadline = spec["activeDeadlineSeconds"];
  if (typeof deadline === "number" && (deadline < 1 || deadline > 2_147_483_647)) {
    problems.push(
      cause.invalid(
        `${at}.activeDeadlineSeconds`,
        deadline,
        "must be between 1 and 2147483647, inclusive",
      ),
    );
  }
  const account = spec["serviceAccountName"];
  if (typeof account === "string" && account !== "") {
    const why = subdomainProblem(account);
    if (why !== undefined) problems.push(cause.invalid(`${at}.serviceAccountName`, account, why));
  }
  for (const [key, value] of Object.entries(
    isJson(spec["nodeSelector"]) ? spec["nodeSelector"] : {},
  )) {
    for (const why of keyProblems(key))
      problems.push(cause.invalid(`${at}.nodeSelector`, key, why));
    const why = labelValueProblem(String(value));
    if (why !== undefined) problems.push(cause.invalid(`${at}.nodeSelector`, value, why));
  }
  for (const [index, toleration] of listOf(spec, "tolerations").entries()) {
    const place = `${at}.tolerations[${index}]`;
    problems.push(...tolerationProblems(toleration, place));
  }
  return problems;
}

function tolerationProblems(toleration: Json, at: string): Cause[] {
  const problems = [
    ...oneOf(toleration, at, "operator", ["Equal", "Exists", "Lt", "Gt"]),
    ...oneOf(toleration, at, "effect", ["NoSchedule", "PreferNoSchedule", "NoExecute"]),
  ];
  if (toleration["operator"] === "Exists" && (toleration["value"] ?? "") !== "") {
    problems.push(
      cause.invalid(
        `${at}.operator`,
        toleration["value"],
        "value must be empty when `operator` is 'Exists'",
      ),
    );
  }
  if ((toleration["key"] ?? "") === "" && toleration["operator"] !== "Exists") {
    problems.push(
      cause.invalid(
        `${at}.operator`,
        toleration["operator"] ?? "",
        'operator must be Exists when `key` is empty, which means "match all values and all keys"',
      ),
    );
  }
  if (toleration["tolerationSeconds"] !== undefined && toleration["effect"] !== "NoExecute") {
    problems.push(
      cause.invalid(
        `${at}.effect`,
        toleration["effect"] ?? "",
        "effect must be 'NoExecute' when `tolerationSeconds` is set",
      ),
    );
  }
  return problems;
}

function containerProblems(container: Json, at: string, volumes: ReadonlySet<unknown>): Cause[] {
  const problems: Cause[] = [];
  const why = typeof container["name"] === "string" ? labelProblem(container["name"]) : undefined;
  if (why !== undefined) problems.push(cause.invalid(`${at}.name`, container["name"], why));
  const image = container["image"];
  if (image === undefined || image === "") problems.push(cause.required(`${at}.image`));
  else if (typeof image === "string" && image !== image.trim()) {
    problems.push(
      cause.invalid(`${at}.image`, image, "must not have leading or trailing whitespace"),
    );
  }
  problems.push(...oneOf(container, at, "imagePullPolicy", ["Always", "IfNotPresent", "Never"]));
  for (const [index, one] of listOf(container, "env").entries()) {
    const name = String(one["name"]);
    if (!/^[ -<>-~]+$/.test(name)) {
      problems.push(
        cause.invalid(
          `${at}.env[${index}].name`,
          name,
          "a valid environment variable name must consist only of printable ASCII characters other than '='",
        ),
      );
    }
    if ((one["value"] ?? "") !== "" && one["valueFrom"] !== undefined) {
      problems.push(
        cause.invalid(
          `${at}.env[${index}].valueFrom`,
          "",
          "may not be specified when `value` is not empty",
        ),
      );
    }
  }
  const mountPaths = new Set<unknown>();
  for (const [index, mount] of listOf(container, "volumeMounts").entries()) {
    const place = `${at}.volumeMounts[${index}]`;
    if (!volumes.has(mount["name"]))
      problems.push(cause.missing(`${place}.name`, String(mount["name"])));
    if (mountPaths.has(mount["mountPath"])) {
      problems.push(cause.invalid(`${place}.mountPath`, mount["mountPath"], "must be unique"));
    }
    mountPaths.add(mount["mountPath"]);
  }
  return [
    ...problems,
    ...resourceProblems(container["resources"], `${at}.resources`),
    ...securityProblems(container["securityContext"], `${at}.securityContext`),
  ];
}

function securityProblems(context: unknown, at: string): Cause[] {
  if (!isJson(context)) return [];
  const problems: Cause[] = [];
  if (context["privileged"] === true && context["allowPrivilegeEscalation"] === false) {
    problems.push(
      cause.invalid(
        at,
        "",
        "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
      ),
    );
  }
  return problems;
}

function resourceProblems(resources: unknown, at: string): Cause[] {
  if (!isJson(resources)) return [];
  const limits = (isJson(resources["limits"]) ? resources["limits"] : {}) as Record<string, string>;
  const requests = (isJson(resources["requests"]) ? resources["requests"] : {}) as Record<
    string,
    string
  >;
  const problems: Cause[] = [];
  for (const [list, amounts] of [
    ["limits", limits],
    ["requests", requests],
  ] as const) {
    for (const [name, amount] of Object.entries(amounts)) {
      const place = `${at}.${list}[${name}]`;
      if (
        !["cpu", "memory", "ephemeral-storage"].includes(name) &&
        !name.startsWith("hugepages-") &&
        !name.includes("/")
      ) {
        problems.push(
          cause.invalid(place, name, "must be a standard resource type or fully qualified"),
          cause.invalid(place, name, "must be a standard resource for containers"),
        );
      }
      if (quantityOf(amount) < 0)
        problems.push(cause.invalid(place, amount, "must be greater than or equal to 0"));
      if (name.includes("/") && !Number.isInteger(quantityOf(amount))) {
        problems.push(cause.invalid(place, amount, "must be an integer"));
      }
    }
  }
  for (const [name, amount] of Object.entries(requests)) {
    const limit = limits[name];
    if (limit !== undefined && name.includes("/") && quantityOf(amount) !== quantityOf(limit)) {
      problems.push(
        cause.invalid(`${at}.requests`, amount, `must be equal to ${name} limit of ${limit}`),
      );
    } else if (limit !== undefined && quantityOf(amount) > quantityOf(limit)) {
      problems.push(
        cause.invalid(
          `${at}.requests`,
          amount,
          `must be less than or equal to ${name} limit of ${limit}`,
        ),
      );
    } else if (limit === undefined && name.includes("/")) {
      problems.push(
        cause.required(`${at}.limits`, "Limit must be set for non overcommitable resources"),
      );
    }
  }
  return problems;
}

function volumeProblems(volumes: readonly Json[], at: string): Cause[] {
  const seen = new Set<unknown>();
  return volumes.flatMap((volume, index) => {
    const place = `${at}[${index}]`;
    const problems: Cause[] = [];
    const why = typeof volume["name"] === "string" ? labelProblem(volume["name"]) : undefined;
    if (why !== undefined) problems.push(cause.invalid(`${place}.name`, volume["name"], why));
    if (seen.has(volume["name"]))
      problems.push(cause.duplicate(`${place}.name`, String(volume["name"])));
    seen.add(volume["name"]);
    const kinds = Object.keys(volume).filter((field) => field !== "name");
    for (const kind of kinds.slice(1)) {
      problems.push(cause.forbidden(`${place}.${kind}`, "may not specify more than 1 volume type"));
    }
    if (isJson(volume["secret"]) && (volume["secret"]["secretName"] ?? "") === "") {
      problems.push(cause.required(`${place}.secret.secretName`));
    }
    return problems;
  });
}

function oneOf(target: Json, at: string, field: string, allowed: readonly string[]): Cause[] {
  const value = target[field];
  if (typeof value !== "string" || value === "" || allowed.includes(value)) return [];
  return [cause.unsupported(`${at}.${field}`, value, allowed)];
}

function listOf(target: Json, field: string): Json[] {
  const list = target[field];
  return Array.isArray(list) ? list.filter(isJson) : [];
}
