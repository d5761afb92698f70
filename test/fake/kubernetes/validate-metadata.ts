import type { Metadata } from "./objects.ts";
import type { Resource } from "./resources.ts";
import { cause, type Cause } from "./status.ts";

const labelForm = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const subdomainForm = `${labelForm}(\\.${labelForm})*`;
const labelText = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '${labelForm}')`;
const subdomainText = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '${subdomainForm}')`;
const qualifiedForm = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const nameText = `name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '${qualifiedForm}')`;
const valueText = `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`;
/** Names, labels, annotations, owners and finalizers. */
export function metadataProblems(resource: Resource, metadata: Metadata): Cause[] {
  const { name, labels = {}, annotations = {}, ownerReferences = [], finalizers = [] } = metadata;
  const problems: Cause[] = [];
  if (name === "")
    problems.push(cause.required("metadata.name", "name or generateName is required"));
  else {
    const why = nameProblem(resource, name);
    if (why !== undefined) problems.push(cause.invalid("metadata.name", name, why));
  }
  for (const [key, value] of Object.entries(labels)) {
    for (const why of keyProblems(key)) problems.push(cause.invalid("metadata.labels", key, why));
    const why = labelValueProblem(value);
    if (why !== undefined) problems.push(cause.invalid("metadata.labels", value, why));
  }
  for (const key of Object.keys(annotations)) {
    // Only the case of an annotation's prefix is forgiven.
    for (const why of keyProblems(key.toLowerCase())) {
      problems.push(cause.invalid("metadata.annotations", key, why));
    }
  }
  const size = Object.entries(annotations).reduce(
    (sum, [key, value]) => sum + key.length + value.length,
    0,
  );
  if (size > 262_144) {
    problems.push({
      reason: "FieldValueTooLong",
      message: "Too long: may not be more than 262144 bytes",
      field: "metadata.annotations",
    });
  }
  for (const [index, reference] of ownerReferences.entries()) {
    for (const field of ["apiVersion", "kind", "name", "uid"] as const) {
      if (reference[field] === "")
        problems.push(
          cause.invalid(
            `metadata.ownerReferences[${index}].${field}`,
            "",
            `${field} must not be empty`,
          ),
        );
    }
  }
  for (const finalizer of finalizers) {
    for (const why of keyProblems(finalizer))
      problems.push(cause.invalid("metadata.finalizers", finalizer, why));
  }
  return problems;
}

export function labelProblem(name: string): string | undefined {
  if (name.includes(".")) return "must not contain dots";
  return formProblem(name, { form: labelForm, text: labelText, max: 63 });
}

export function subdomainProblem(name: string): string | undefined {
  return formProblem(name, { form: subdomainForm, text: subdomainText, max: 253 });
}

function formProblem(
  text: string,
  rule: { form: string; text: string; max: number },
): string | undefined {
  if (text.length > rule.max) return `must be no more than ${rule.max} characters`;
  return new RegExp(`^${rule.form}$`).test(text) ? undefined : rule.text;
}

function nameProblem(resource: Resource, name: string): string | undefined {
  switch (resource) {
    case "namespaces":
    case "services":
      return labelProblem(name);
    case "roles":
    case "rolebindings":
    case "clusterroles":
    case "clusterrolebindings":
      if (name === "." || name === "..") return `may not be '${name}'`;
      if (name.includes("/")) return "may not contain '/'";
      return name.includes("%") ? "may not contain '%'" : undefined;
    default:
      return subdomainProblem(name);
  }
}

/** Of a label's, annotation's or finalizer's key. */
export function keyProblems(key: string): string[] {
  const slash = key.indexOf("/");
  const [prefix, name] =
    slash === -1 ? [undefined, key] : [key.slice(0, slash), key.slice(slash + 1)];
  const problems: string[] = [];
  if (prefix === "") problems.push("prefix part must be non-empty");
  else if (prefix !== undefined) {
    const why = subdomainProblem(prefix);
    if (why !== undefined) problems.push(`prefix part ${why}`);
  }
  if (name === "") problems.push("name part must be non-empty");
  else if (name.length > 63) problems.push("name part must be no more than 63 bytes");
  if (!new RegExp(`^${qualifiedForm}$`).test(name)) problems.push(nameText);
  return problems;
}

export function labelValueProblem(value: string): string | undefined {
  if (value.length > 63) return "must be no more than 63 bytes";
  return new RegExp(`^(${qualifiedForm})?$`).test(value) ? undefined : valueText;
}
