/** At which step a server is to die. */
export interface Plan {
  /** Just before or after a commit of its store, or when a call to a provider was sent. */
  readonly step: "before" | "after" | "call";
  /** Counts from 1. */
  readonly at: number;
  /** Steps count anew with every plan. */
  readonly name: string;
}
