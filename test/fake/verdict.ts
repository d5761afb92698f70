import { ProviderVerdict } from "#rpc/gen/hodei/v1/job_service.ts";

/** A provider that can take the job. */
export function verdict(given: Partial<ProviderVerdict>): ProviderVerdict {
  return {
    ...ProviderVerdict.decode(new Uint8Array()),
    eligible: true,
    pricePerHour: 0.25,
    expectedStart: { seconds: 12, nanos: 0 },
    circuit: 1,
    ...given,
  };
}
