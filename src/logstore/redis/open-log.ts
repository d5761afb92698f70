import type { HodeiError } from "#error.ts";
import type { AttemptId } from "#job/id.ts";
import { isArchived } from "./segments.ts";
import { noHead, type Head, type SealedUpTo, type WholeView } from "./view.ts";

/** A log that batches are sent to, as this process knows it. */
export class OpenLog {
  readonly attempt: AttemptId;
  readonly tenant: string;
  /** Behind what was sent; undefined: Redis has to be asked. */
  head: Head | undefined;
  /** What Redis has acknowledged to this process, or was found to have. */
  acked: Head = noHead;
  sealed: SealedUpTo = { number: 0, stored: 0 };
  /** What its segments hold. */
  segmentBytes: SegmentBytes = { inRedis: 0, inArchive: 0 };
  /** Counts the times that what was sent turned out to be built on something else, and why. */
  epoch = 0;
  failure: HodeiError | Error | undefined;
  /** The newest append, which repeated ones wait with. */
  flight: Promise<void> | undefined;
  /** The answer to what Redis has. */
  asking: Promise<void> | undefined;
  /** The last of those who wait for room. */
  line: Promise<void> | undefined;
  /** Whether Redis knows that it is open. */
  isRegistered = false;
  /** It has ended, and is reported by whoever seals it. */
  isOver = false;
  usedAt = 0;

  constructor(attempt: AttemptId, tenant: string) {
    this.attempt = attempt;
    this.tenant = tenant;
  }

  /** Bytes of it in the stream or on their way there. */
  get liveBytes(): number {
    return Math.max(0, (this.head ?? this.acked).mark.stored - this.sealed.stored);
  }

  /** Takes notice of what was sealed. */
  settle(view: WholeView): void {
    this.sealed = view.sealed;
    this.segmentBytes = segmentBytesOf(view);
  }

  /** Whatever was sent behind a batch that failed has failed as well. */
  fail(error: HodeiError | Error): void {
    this.epoch++;
    this.failure = error;
    this.head = undefined;
  }
}

export interface SegmentBytes {
  readonly inRedis: number;
  readonly inArchive: number;
}

export function segmentBytesOf({ segments }: WholeView): SegmentBytes {
  let [inRedis, inArchive] = [0, 0];
  for (const { name, bytes } of segments) {
    if (isArchived(name)) inArchive += bytes;
    else inRedis += bytes;
  }
  return { inRedis, inArchive };
}
