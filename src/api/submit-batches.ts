import { HodeiError } from "#error.ts";
import type {
  SubmitJobRequest,
  SubmitJobsRequest,
  SubmitJobsResponse,
  SubmitResult,
} from "#rpc/gen/hodei/v1/job_service.ts";
import type { Write } from "#rpc/write.ts";

/** Bounds of one stream of batches. */
export const batchLimits = { jobs: 1_000, inFlight: 16 } as const;

/**
 * Answers each batch once its jobs are durable. Batches overlap, so that one fsync serves many of them; beyond `inFlight` nothing more is read
 * from the connection.
 */
export async function submitBatches(
  requests: AsyncIterable<SubmitJobsRequest>,
  write: Write<SubmitJobsResponse>,
  submit: (jobs: readonly SubmitJobRequest[]) => Promise<SubmitResult[]>,
): Promise<void> {
  const inFlight = new Set<Promise<void>>();
  const broken = Promise.withResolvers<void>();
  let failure: { readonly error: unknown } | undefined;
  const fail = (error: unknown): void => {
    failure ??= { error };
    broken.resolve();
  };
  const read = async (): Promise<void> => {
    for await (const { batch, jobs } of requests) {
      if (jobs.length > batchLimits.jobs) {
        fail(new HodeiError("invalid_argument", `jobs: more than ${batchLimits.jobs} in a batch`));
      }
      if (failure !== undefined) return;
      const answered = submit(jobs)
        .then(async (results) => write({ batch, results }))
        .catch(fail)
        .finally(() => inFlight.delete(answered));
      inFlight.add(answered);
      if (inFlight.size >= batchLimits.inFlight) await Promise.race(inFlight);
    }
  };
  // A client that waits for its answer sends nothing more, so a failure must not wait for its next batch.
  await Promise.race([read(), broken.promise]);
  await Promise.all(inFlight);
  if (failure !== undefined) throw failure.error;
}
