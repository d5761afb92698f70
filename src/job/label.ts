/** The label by which a job may name its tenant: the caller's own, or any from an admin. */
export const tenantLabel = "hodei.io/tenant-id";

const name = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const reserved = /(^|\.)(hodei|kubernetes|k8s)\.io$/;

/** What is wrong with a user's label, with its key quoted; undefined when a cluster takes it and it is none of ours. */
export function labelProblem(key: string, value: string): string | undefined {
  const problem = keyProblem(key);
  if (problem !== undefined) return problem;
  if (value === "" || name.test(value)) return undefined;
  return `${quote(key)} has a value that is none of a label: at most 63 letters, digits, and - _ . between them`;
}

/** The same for the key of an annotation, whose value may be any text. */
export function annotationProblem(key: string): string | undefined {
  return keyProblem(key);
}

function keyProblem(key: string): string | undefined {
  const slash = key.indexOf("/");
  const prefix = key.slice(0, Math.max(slash, 0));
  if (slash >= 0) {
    if (prefix.length > 253 || !subdomain.test(prefix)) {
      return `${quote(key)} has no DNS name before its slash`;
    }
    if (reserved.test(prefix)) return `${quote(key)} is reserved: ${prefix}/ is not for users`;
  }
  if (name.test(key.slice(slash + 1))) return undefined;
  return `${quote(key)} is not a key: at most 63 letters, digits, and - _ . between them`;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
