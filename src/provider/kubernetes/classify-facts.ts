import type { CoreV1Event } from "@kubernetes/client-node";

/** What a pod's events have said that its status does not, or not as soon. */
export interface PodFacts {
  /** The image that was last said to be pulled. */
  readonly pulling?: string;
  readonly isPulled?: boolean;
  /** Why the last pull failed, in the runtime's words. */
  readonly pullFailure?: string;
  readonly volumeFailure?: string;
  readonly sandboxFailure?: string;
  /** The kubelet ends the pod since its time is over. */
  readonly deadline?: string;
}

export const noFacts: PodFacts = {};

type SaidEvent = Pick<CoreV1Event, "reason" | "message">;

/** The facts after one more event; the very same when it says nothing of interest. */
export function withEvent(facts: PodFacts, event: SaidEvent): PodFacts {
  const message = event.message ?? "";
  switch (event.reason) {
    case "Pulling": {
      const image = /"([^"]+)"/.exec(message)?.[1] ?? "";
      const { pullFailure } = facts;
      return {
        ...keepDeadline(facts),
        pulling: image,
        ...(pullFailure === undefined ? {} : { pullFailure }),
      };
    }
    case "Pulled":
      return { ...keepDeadline(facts), isPulled: true };
    case "Created":
    case "Started":
      return { ...keepDeadline(facts), isPulled: true };
    case "Failed": {
      const cause = /^Failed to pull image "[^"]*": (.*)$/s.exec(message)?.[1];
      return cause === undefined ? facts : { ...facts, pullFailure: cause };
    }
    case "FailedMount":
    case "FailedAttachVolume":
    case "FailedMapVolume":
      return { ...facts, volumeFailure: message };
    case "FailedCreatePodSandBox":
    case "NetworkNotReady":
      return { ...facts, sandboxFailure: message };
    case "DeadlineExceeded":
      return { ...facts, deadline: message };
    default:
      return facts;
  }
}

function keepDeadline({ deadline }: PodFacts): PodFacts {
  return deadline === undefined ? {} : { deadline };
}
