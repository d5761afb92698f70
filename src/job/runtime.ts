const name = /^[a-z0-9]([-a-z0-9_.+]{0,61}[a-z0-9+])?$/;
const mostRuntimes = 32;

/** Why these are no names of runtimes; undefined when they are. */
export function runtimesProblem(runtimes: readonly string[]): string | undefined {
  if (runtimes.length > mostRuntimes) return `has more than ${mostRuntimes} entries`;
  const wrong = runtimes.find((runtime) => !name.test(runtime));
  if (wrong === undefined) return undefined;
  const shown = JSON.stringify(wrong.slice(0, 64));
  return `${shown} is no runtime: lower-case letters, digits and - _ . + between them, at most 63`;
}
