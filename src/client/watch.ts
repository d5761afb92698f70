import { isFinal } from "#job/state.ts";
import { JobServiceService } from "#rpc/gen/hodei/v1/job_service.ts";
import type { CallOptions, Channel } from "./channel.ts";
import { eventFromWire, type JobEvent } from "./job.ts";

export interface WatchOptions extends CallOptions {
  /** Only events with a higher sequence. */
  readonly after?: number | undefined;
}

/** The events of a job, each once, across reconnects, until its final one. */
export async function* watchJob(
  channel: Channel,
  jobId: string,
  { after = 0, signal }: WatchOptions,
): AsyncGenerator<JobEvent, void, undefined> {
  let last = after;
  let hasEnded = false;
  const responses = channel.read(JobServiceService.watchJob, {
    signal,
    next: () => ({ jobId, afterSequence: last }),
    // Whoever watches after the final event gets an empty stream.
    isComplete: () => hasEnded || (after > 0 && last === after),
  });
  for await (const { event } of responses) {
    if (event === undefined || event.sequence <= last) continue;
    last = event.sequence;
    const view = eventFromWire(event);
    hasEnded = isFinal(view.state);
    yield view;
  }
}
