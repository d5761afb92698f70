/** How fast the double's time goes; the order of what happens is the real one whatever these are. */
export interface Timings {
  /** From assignment to a pod's sandbox. */
  readonly sandboxMs: number;
  /** From a failed start of a container to the status that says so. */
  readonly syncMs: number;
  /** Between later tries, and the first image back-off. */
  readonly retryMs: number;
  /** From a container's end to the pod's final phase. */
  readonly finishMs: number;
  /** How often memory is looked at. */
  readonly memoryMs: number;
  /** From a kubelet's silence to the node's condition. */
  readonly nodeLostMs: number;
  /** From a kubelet's return to the node's condition. */
  readonly nodeBackMs: number;
  /** How long a second of `terminationGracePeriodSeconds` takes. */
  readonly graceSecondMs: number;
  /** How long a second of `activeDeadlineSeconds` takes. */
  readonly deadlineSecondMs: number;
  /** How long a second of `tolerationSeconds` takes. */
  readonly tolerationSecondMs: number;
}

export const fastTimings: Timings = {
  sandboxMs: 5,
  syncMs: 20,
  retryMs: 200,
  finishMs: 20,
  memoryMs: 250,
  nodeLostMs: 200,
  nodeBackMs: 100,
  graceSecondMs: 1000,
  deadlineSecondMs: 1000,
  tolerationSecondMs: 10,
};
