import { HodeiError } from "#error.ts";
import { isAttemptId, isJobId } from "#job/id.ts";
import type { LogsRequest, LogsResponse } from "#rpc/gen/hodei/v1/agent_service.ts";
import { releaseBatch } from "#rpc/log-request.ts";
import type { Write } from "#rpc/write.ts";
import { type AgentGround, type AgentStream, checkEcho } from "./agent-service-ground.ts";
import { Upload } from "./agent-service-upload.ts";

interface LogsPipes {
  readonly requests: AsyncIterable<LogsRequest>;
  readonly write: Write<LogsResponse>;
}

/**
 * Serves one Logs stream. The agent sends against credit, which comes back as its batches become durable, so what waits here is bounded. Attempts share the
 * credit and nothing else: each keeps its own order, and acknowledges at its own pace.
 */
export async function serveLogs(
  ground: AgentGround,
  stream: AgentStream,
  pipes: LogsPipes,
): Promise<void> {
  const ending = Promise.withResolvers<void>();
  const logs = new Logs(ground, stream, { write: pipes.write, end: ending.reject });
  try {
    await Promise.race([logs.read(pipes.requests), ending.promise]);
  } finally {
    logs.close();
  }
}

interface LogsParts {
  readonly write: Write<LogsResponse>;
  readonly end: (error: unknown) => void;
}

/** What may be on its way beyond the credit: one message, which was sent before a smaller grant was seen. */
const slack = { bytes: 256 * 1024, batches: 16 * 1024 } as const;
const fenced = -1;

class Logs {
  readonly #ground: AgentGround;
  readonly #stream: AgentStream;
  readonly #parts: LogsParts;
  readonly #uploads = new Map<string, Upload>();
  /** Newest durable batch of each attempt that moved since the last message. */
  #acks = new Map<string, number>();
  #credit: number;
  #heldBytes = 0;
  #heldBatches = 0;
  #isBusy = false;
  #isClosed = false;

  constructor(ground: AgentGround, stream: AgentStream, parts: LogsParts) {
    this.#ground = ground;
    this.#stream = stream;
    this.#parts = parts;
    this.#credit = ground.limits.creditBytes;
    this.#answer();
  }

  async read(requests: AsyncIterable<LogsRequest>): Promise<void> {
    for await (const request of requests) {
      if (this.#isClosed) return;
      this.#take(request);
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const upload of this.#uploads.values()) upload.close();
    this.#uploads.clear();
  }

  #take(request: LogsRequest): void {
    const { attemptId, jobId, batchNumber: number, batch: bytes } = request;
    this.#heldBytes += bytes.length;
    this.#heldBatches++;
    checkEcho(attemptId);
    const most = this.#ground.limits.creditBytes + slack.bytes;
    // Answers count as well: an agent that sends what is refused at once and reads nothing must not fill the memory with them.
    const held = this.#heldBatches + this.#acks.size;
    if (this.#heldBytes > most || held > slack.batches) {
      this.#ground.count("credit_overrun");
      throw new HodeiError("resource_exhausted", "more log bytes than there was credit for");
    }
    if (!isAttemptId(attemptId) || !isJobId(jobId) || !isBatchNumber(number)) {
      this.#acks.set(attemptId, fenced);
      this.#release(bytes.length);
      return;
    }
    let upload = this.#uploads.get(attemptId);
    if (upload === undefined) {
      upload = this.#open(attemptId);
      this.#uploads.set(attemptId, upload);
    }
    upload.push({ attemptId, jobId, number, bytes, release: releaseBatch });
  }

  #open(attemptId: string): Upload {
    const { attempts, limits, count } = this.#ground;
    const { workerId, call } = this.#stream;
    const upload: Upload = new Upload({
      append: async (batch) => attempts.appendLog(workerId, batch),
      retryMs: limits.logRetryMs,
      onDurable: (number, bytes) => {
        this.#acks.set(attemptId, number);
        this.#release(bytes);
        if (upload.isEmpty) this.#uploads.delete(attemptId);
      },
      onRefused: (sizes, error) => {
        if (error !== undefined) {
          count("log_refused");
          call.log.warn({ workerId, attemptId, err: error }, "log batch refused");
        }
        this.#acks.set(attemptId, fenced);
        for (const size of sizes) this.#release(size);
        this.#uploads.delete(attemptId);
      },
      onFull: () => count("log_disk_full"),
      onFailure: (error) => this.#parts.end(error),
    });
    return upload;
  }

  #release(bytes: number): void {
    this.#heldBytes -= bytes;
    this.#heldBatches--;
    this.#credit += bytes;
    this.#answer();
  }

  #answer(): void {
    if (this.#isBusy || this.#isClosed) return;
    this.#isBusy = true;
    setImmediate(() => void this.#send());
  }

  /** What became durable in one turn of the event loop leaves in one message. */
  async #send(): Promise<void> {
    try {
      while (!this.#isClosed && (this.#acks.size > 0 || this.#credit > 0)) {
        const acks = Array.from(this.#acks, ([attemptId, number]) => ({
          attemptId,
          batchNumber: Math.max(0, number),
          fenced: number === fenced,
        }));
        const creditBytes = this.#credit;
        this.#acks = new Map();
        this.#credit = 0;
        await this.#parts.write({ acks, creditBytes });
      }
    } catch (error) {
      this.#parts.end(error);
    } finally {
      this.#isBusy = false;
    }
  }
}

function isBatchNumber(number: number): boolean {
  return Number.isSafeInteger(number) && number >= 1;
}
