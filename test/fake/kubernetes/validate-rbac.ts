import { isJson } from "./field-set.ts";
import type { KubeObject } from "./objects.ts";
import { cause, type Cause } from "./status.ts";
import { subdomainProblem } from "./validate-metadata.ts";

export function roleProblems(object: KubeObject): Cause[] {
  const rules = Array.isArray(object["rules"]) ? object["rules"].filter(isJson) : [];
  return rules.flatMap((rule, index) => {
    const at = `rules[${index}]`;
    const problems: Cause[] = [];
    const isFilled = (field: string): boolean =>
      Array.isArray(rule[field]) && rule[field].length > 0;
    if (!isFilled("verbs"))
      problems.push(cause.required(`${at}.verbs`, "verbs must contain at least one value"));
    if (isFilled("nonResourceURLs")) return problems;
    if (!isFilled("apiGroups"))
      problems.push(
        cause.required(`${at}.apiGroups`, "resource rules must supply at least one api group"),
      );
    if (!isFilled("resources"))
      problems.push(
        cause.required(`${at}.resources`, "resource rules must supply at least one resource"),
      );
    return problems;
  });
}

export function bindingProblems(object: KubeObject): Cause[] {
  const { roleRef } = object;
  const problems: Cause[] = [];
  if (isJson(roleRef) && !["Role", "ClusterRole"].includes(String(roleRef["kind"]))) {
    problems.push(
      cause.unsupported("roleRef.kind", String(roleRef["kind"]), ["Role", "ClusterRole"]),
    );
  }
  const subjects = Array.isArray(object["subjects"]) ? object["subjects"].filter(isJson) : [];
  for (const [index, subject] of subjects.entries()) {
    const at = `subjects[${index}]`;
    if (subject["kind"] === "ServiceAccount") {
      const why = subdomainProblem(String(subject["name"]));
      if (why !== undefined) problems.push(cause.invalid(`${at}.name`, subject["name"], why));
      if (subject["namespace"] === undefined && object.kind === "ClusterRoleBinding")
        problems.push(cause.required(`${at}.namespace`));
    } else if (!["User", "Group"].includes(String(subject["kind"]))) {
      problems.push(
        cause.unsupported(`${at}.kind`, String(subject["kind"]), [
          "ServiceAccount",
          "User",
          "Group",
        ]),
      );
    }
  }
  return problems;
}
