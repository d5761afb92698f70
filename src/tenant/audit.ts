import type { JobId } from "#job/id.ts";

type Outcome =
  | { readonly kind: "accepted"; readonly id: JobId }
  | { readonly kind: "conflict" }
  | { readonly kind: "quota" };

/** What the audit says of a submit: the first job and how many more, or why there is none. */
export function describeSubmit(outcomes: readonly Outcome[]): {
  readonly target: string;
  readonly outcome: string;
} {
  const accepted = outcomes.filter((outcome) => outcome.kind === "accepted");
  const [first] = accepted;
  if (first === undefined) {
    const isConflict = outcomes[0]?.kind === "conflict";
    return { target: "", outcome: isConflict ? "ALREADY_EXISTS" : "RESOURCE_EXHAUSTED" };
  }
  const more = accepted.length - 1;
  return { target: more === 0 ? first.id : `${first.id} and ${more} more`, outcome: "OK" };
}
