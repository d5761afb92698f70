import { HodeiError } from "#error.ts";
import { isAttemptId } from "#job/id.ts";
import type {
  AgentEvent,
  ControlRequest,
  ControlResponse,
  Hello,
  Renewal,
} from "#rpc/gen/hodei/v1/agent_service.ts";
import { durationOf, msOf } from "#rpc/time.ts";
import type { Write } from "#rpc/write.ts";
import type {
  Connection,
  ResultReport,
  StartReport,
  WorkerHello,
  WorkerLink,
} from "#scheduler/scheduler.ts";
import type { Worker } from "#worker/worker.ts";
import {
  agentProtocol,
  type AgentGround,
  type AgentStream,
  checkEcho,
  checkProtocol,
} from "./agent-service-ground.ts";
import { Outbox } from "./agent-service-outbox.ts";
import {
  heldFromWire,
  resultFromWire,
  startFromWire,
  usagesFromWire,
} from "./agent-service-report.ts";

interface ControlPipes {
  readonly requests: AsyncIterable<ControlRequest>;
  readonly write: Write<ControlResponse>;
}

/** Serves one Control stream until the agent closes it, or somebody here must. */
export async function serveControl(
  ground: AgentGround,
  stream: AgentStream,
  pipes: ControlPipes,
): Promise<void> {
  const ending = Promise.withResolvers<void>();
  const outbox = new Outbox({
    write: pipes.write,
    bound: ground.limits.outboxCommands,
    onFailure: (error) => {
      if (error instanceof HodeiError && error.code === "resource_exhausted") {
        ground.count("outbox_overrun");
        stream.call.reset();
      }
      ending.reject(error);
    },
  });
  const control = new Control(ground, stream, { outbox, end: ending.reject });
  stream.call.signal.addEventListener("abort", () => control.close(), { once: true });
  try {
    await Promise.race([control.read(pipes.requests), ending.promise]);
  } finally {
    // Whatever ended the stream: nothing is sent any more. A call that was over before Hello was understood never aborts again.
    outbox.close();
    control.close();
  }
}

interface ControlParts {
  readonly outbox: Outbox;
  readonly end: (error: HodeiError) => void;
}

class Control {
  readonly #ground: AgentGround;
  readonly #stream: AgentStream;
  readonly #parts: ControlParts;
  #connection: Connection | undefined;
  #isClosed = false;

  constructor(ground: AgentGround, stream: AgentStream, parts: ControlParts) {
    this.#ground = ground;
    this.#stream = stream;
    this.#parts = parts;
  }

  async read(requests: AsyncIterable<ControlRequest>): Promise<void> {
    for await (const { events } of requests) {
      if (this.#isClosed) return;
      this.#connection ??= await this.#open(events.shift());
      const waiting = this.#take(this.#connection, events);
      if (waiting !== undefined) await waiting;
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#connection?.closed();
  }

  async #open(first: AgentEvent | undefined): Promise<Connection> {
    if (first?.event?.$case !== "hello") {
      throw new HodeiError("invalid_argument", "events: the first one must be a hello");
    }
    const hello = first.event.value;
    checkProtocol(hello.protocol);
    const worker = await this.#ground.store.findWorker(this.#stream.workerId);
    if (worker === undefined || worker.state === "ended") throw over();
    this.#welcome(worker);
    const connection = await this.#ground.attempts.connect(worker, this.#held(hello), this.#link());
    if (this.#isClosed) connection.closed();
    const { hostname, agentVersion, platform } = hello;
    const { workerId, call } = this.#stream;
    call.log.info({ workerId, hostname, agentVersion, platform }, "worker connected");
    return connection;
  }

  #welcome(worker: Worker): void {
    const { limits } = this.#ground;
    const { idleTimeoutMs } = limits;
    this.#parts.outbox.push({
      $case: "welcome",
      value: {
        protocol: agentProtocol,
        renewInterval: durationOf(limits.renewMs),
        logBatchBytes: limits.logBatchBytes,
        logBatchDelay: durationOf(limits.logBatchDelayMs),
        maxJobs: worker.maxJobs,
        idleTimeout: idleTimeoutMs === undefined ? undefined : durationOf(idleTimeoutMs),
        slots: worker.slots,
        logQuotaBytes: limits.logQuotaBytes,
        reconnectMax: durationOf(limits.reconnectMaxMs),
      },
    });
  }

  #held(hello: Hello): WorkerHello {
    const held = hello.attempts.flatMap((wire) => {
      const one = heldFromWire(wire);
      if (one === undefined) this.#fence(wire.attemptId);
      return one ?? [];
    });
    return { slots: hello.slots, hostname: hello.hostname.slice(0, 256), held };
  }

  #take(connection: Connection, events: readonly AgentEvent[]): Promise<void> | undefined {
    const starts: StartReport[] = [];
    const results: ResultReport[] = [];
    const now = this.#ground.now();
    let goodbye: string | undefined;
    let isRenewed = false;
    for (const { event } of events) {
      switch (event?.$case) {
        case "hello":
          throw new HodeiError("invalid_argument", "events: a second hello");
        case "renewal":
          isRenewed = true;
          this.#renew(connection, event.value);
          break;
        case "started": {
          const start = startFromWire(event.value, now);
          if (start === undefined) this.#fence(event.value.attemptId);
          else starts.push(start);
          break;
        }
        case "result": {
          const result = resultFromWire(event.value, now);
          if (result === undefined) this.#acknowledge(event.value.attemptId, true);
          else results.push(result);
          break;
        }
        case "fenceAck": {
          const { attemptId, mayHaveRun } = event.value;
          if (isAttemptId(attemptId)) connection.dropped(attemptId, mayHaveRun);
          break;
        }
        case "draining": {
          const { reason, grace } = event.value;
          connection.draining({ reason: reason.slice(0, 1_024), graceMs: msOf(grace) ?? 0 });
          break;
        }
        case "goodbye":
          goodbye = event.value.reason;
          break;
        case undefined:
          break;
      }
    }
    if (!isRenewed) connection.renew([]);
    const waiting = report(connection, starts, results);
    if (goodbye !== undefined) connection.goodbye(goodbye.slice(0, 1_024));
    return waiting;
  }

  #renew(connection: Connection, renewal: Renewal): void {
    connection.renew(usagesFromWire(renewal));
    const { sequence } = renewal;
    this.#parts.outbox.push({ $case: "renewalAck", value: { sequence } });
  }

  #link(): WorkerLink {
    const { outbox, end } = this.#parts;
    return {
      assign(assignment) {
        const { attemptId, jobId, attemptNumber, tenant, correlationId } = assignment;
        const spec = asBuffer(assignment.spec);
        // A claim is durable when it is given, so there is nothing to wait for.
        const value = { attemptId, jobId, attemptNumber, spec, go: true, correlationId, tenant };
        outbox.push({ $case: "assignment", value });
      },
      cancel(attemptId, graceMs, reason) {
        const value = { attemptId, grace: durationOf(graceMs), reason };
        outbox.push({ $case: "cancel", value });
      },
      drain: (reason) => outbox.push({ $case: "drain", value: { reason } }),
      fence: (attemptId) => this.#fence(attemptId),
      acknowledge: (attemptId, answer) => this.#acknowledge(attemptId, answer === "fenced"),
      close: (why) => end(why === "over" ? over() : closings[why]()),
    };
  }

  #fence(attemptId: string): void {
    checkEcho(attemptId);
    this.#parts.outbox.push({ $case: "fenced", value: { attemptId } });
  }

  #acknowledge(attemptId: string, fenced: boolean): void {
    checkEcho(attemptId);
    this.#parts.outbox.push({ $case: "resultAck", value: { attemptId, fenced } });
  }
}

/** A start that is followed by its result in the same message is stored with it. */
function report(
  connection: Connection,
  starts: readonly StartReport[],
  results: readonly ResultReport[],
): Promise<void> | undefined {
  const ended = starts.length === 0 ? undefined : new Set(results.map((one) => one.attemptId));
  const open = starts.filter(({ attemptId }) => !(ended?.has(attemptId) ?? false));
  const begun = open.length === 0 ? undefined : connection.started(open);
  const done = results.length === 0 ? undefined : connection.finished(results);
  if (begun === undefined || done === undefined) return begun ?? done;
  return Promise.all([begun, done]).then(() => undefined);
}

const closings = {
  replaced: () =>
    new HodeiError("aborted", "a newer connection of this worker has taken the place of this one"),
  unavailable: () =>
    new HodeiError("unavailable", "what was sent may not be stored; send it again"),
} as const;

/** The same words as for credentials that never were any. */
function over(): HodeiError {
  return new HodeiError("unauthenticated", "worker credentials refused");
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
