import {
  type sendUnaryData,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  status,
} from "@grpc/grpc-js";
import { vi } from "vitest";
import type { JobSpec } from "#job/job.ts";
import { decodeBatch } from "#log/batch.ts";
import type { LogStream } from "#log/record.ts";
import {
  type AgentEvent,
  AgentServiceService,
  type ControlRequest,
  type ControlResponse,
  type LogsRequest,
  type LogsResponse,
  type RedeemRequest,
  type RedeemResponse,
  type Result,
  type ServerCommand,
} from "#rpc/gen/hodei/v1/agent_service.ts";
import { JobSpec as WireSpec } from "#rpc/gen/hodei/v1/job.ts";
import { specFromWire, encodeSpec } from "#rpc/spec.ts";
import { durationOf } from "#rpc/time.ts";

type Control = ServerDuplexStream<ControlRequest, ControlResponse>;
type Logs = ServerDuplexStream<LogsRequest, LogsResponse>;

/** How the scripted server behaves; everything may be changed while it runs. */
export interface Script {
  /** Answers of the next redeems; afterwards they succeed. `lose` takes it and cuts the connection. */
  redeem: ("unavailable" | "lose" | "refuse")[];
  /** Whether it answers a hello. */
  greets: boolean;
  acknowledgesRenewals: boolean;
  acknowledgesResults: boolean;
  acknowledgesLogs: boolean;
  creditBytes: number;
  maxJobs: number;
  slots: number;
  renewMs: number;
  idleTimeoutMs: number | undefined;
}

/** An AgentService that does what a test says, on a real port. */
export class ScriptedServer implements AsyncDisposable {
  readonly script: Script = {
    redeem: [],
    greets: true,
    acknowledgesRenewals: true,
    acknowledgesResults: true,
    acknowledgesLogs: true,
    creditBytes: 1024 * 1024,
    maxJobs: 0,
    slots: 4,
    renewMs: 50,
    idleTimeoutMs: undefined,
  };
  readonly redeems: {
    readonly workerId: string;
    readonly otp: string;
    readonly attestation: string;
    readonly session: string;
  }[] = [];
  readonly sessions: string[] = [];
  readonly events: NonNullable<AgentEvent["event"]>[] = [];
  /** Log batches as they arrived, also repeated ones. */
  readonly batches: LogsRequest[] = [];
  /** Control streams in the order in which they came. */
  readonly streams: Control[] = [];
  address = "";
  control: Control | undefined;
  logs: Logs | undefined;
  #server = new Server();
  #lastEventAt = 0;

  #credentials = ServerCredentials.createInsecure();

  static async open(
    script: Partial<Script> = {},
    credentials = ServerCredentials.createInsecure(),
  ): Promise<ScriptedServer> {
    const opened = new ScriptedServer();
    opened.#credentials = credentials;
    Object.assign(opened.script, script);
    await opened.listen(0);
    return opened;
  }

  async listen(port: number): Promise<void> {
    this.#server = new Server();
    this.#server.addService(AgentServiceService, {
      redeem: this.#redeem,
      control: this.#control,
      logs: this.#logs,
    });
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#server.bindAsync(`127.0.0.1:${port}`, this.#credentials, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
    this.address = `127.0.0.1:${await promise}`;
  }

  /** Cuts every connection and listens no more. */
  drop(): void {
    this.#server.forceShutdown();
    this.control = undefined;
    this.logs = undefined;
  }

  async comeBack(): Promise<void> {
    await this.listen(Number(this.address.split(":")[1]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.drop();
  }

  send(...commands: NonNullable<ServerCommand["command"]>[]): void {
    this.control?.write({ commands: commands.map((command) => ({ command })) });
  }

  assign(id: string, spec: Partial<JobSpec>, go = true): void {
    const full = { ...specFromWire(WireSpec.decode(new Uint8Array())), ...spec };
    this.assignBytes(id, Buffer.from(encodeSpec(full)), go);
  }

  assignBytes(id: string, spec: Buffer, go = true): void {
    const value = {
      attemptId: id,
      jobId: `job-${id}`,
      attemptNumber: 1,
      spec,
      go,
      correlationId: "c",
      tenant: "t",
    };
    this.send({ $case: "assignment", value });
  }

  cancel(attemptId: string, graceMs: number): void {
    this.send({ $case: "cancel", value: { attemptId, grace: durationOf(graceMs), reason: "" } });
  }

  grant(creditBytes: number): void {
    this.logs?.write({ acks: [], creditBytes });
  }

  async connected(): Promise<void> {
    await this.seen("renewal");
  }

  /** Resolves once so many events of that name have come. */
  async seen(name: NonNullable<AgentEvent["event"]>["$case"], count = 1): Promise<void> {
    await vi.waitFor(
      () => {
        const found = this.events.filter(({ $case }) => $case === name).length;
        if (found < count) throw new Error(`${found} of ${count} ${name}`);
      },
      { timeout: 9_000, interval: 10 },
    );
  }

  async result(id: string): Promise<Result> {
    return vi.waitFor(
      () => {
        const [result] = this.resultsOf(id);
        if (result === undefined) throw new Error(`no result of ${id}`);
        return result;
      },
      { timeout: 9_000, interval: 10 },
    );
  }

  /** Time since the last event. */
  silentMs(): number {
    return performance.now() - this.#lastEventAt;
  }

  /** How often an attempt was reported to have started. */
  startsOf(id: string): number {
    return this.events.filter((event) => event.$case === "started" && event.value.attemptId === id)
      .length;
  }

  resultsOf(id: string): Result[] {
    return this.events.flatMap((event) =>
      event.$case === "result" && event.value.attemptId === id ? [event.value] : [],
    );
  }

  /** What an attempt wrote: batches in order of their number, each one once. */
  output(id: string, stream: LogStream = "stdout"): Buffer {
    const byNumber = new Map(
      this.batches.flatMap((batch) =>
        batch.attemptId === id ? [[batch.batchNumber, batch.batch] as const] : [],
      ),
    );
    const parts: Uint8Array[] = [];
    for (let number = 1; byNumber.has(number); number++) {
      for (const chunk of decodeBatch(byNumber.get(number) ?? new Uint8Array())) {
        if (chunk.stream === stream) parts.push(chunk.data);
      }
    }
    return Buffer.concat(parts);
  }

  readonly #redeem = (
    call: ServerUnaryCall<RedeemRequest, RedeemResponse>,
    answer: sendUnaryData<RedeemResponse>,
  ): void => {
    const text = (key: string): string => String(call.metadata.get(key)[0] ?? "");
    const session = text("hodei-session");
    const way = this.script.redeem.shift();
    const [otp, attestation] = [text("hodei-otp"), text("hodei-attestation")];
    this.redeems.push({ workerId: text("hodei-worker-id"), otp, attestation, session });
    if (way === "unavailable") answer({ code: status.UNAVAILABLE, details: "scripted" });
    else if (way === "refuse") answer({ code: status.UNAUTHENTICATED, details: "scripted" });
    else {
      this.sessions.push(session);
      if (way === "lose") answer({ code: status.UNAVAILABLE, details: "lost reply" });
      else answer(null, { protocol: 1 });
    }
  };

  readonly #control = (call: Control): void => {
    if (!this.sessions.includes(String(call.metadata.get("hodei-session")[0]))) {
      call.emit("error", { code: status.UNAUTHENTICATED, details: "no such session" });
      return;
    }
    this.control = call;
    this.streams.push(call);
    call.on("error", () => undefined);
    call.on("end", () => call.end());
    call.on("data", (message: ControlRequest) => {
      for (const { event } of message.events) if (event !== undefined) this.#take(call, event);
    });
  };

  #take(call: Control, event: NonNullable<AgentEvent["event"]>): void {
    this.events.push(event);
    this.#lastEventAt = performance.now();
    const reply = (command: NonNullable<ServerCommand["command"]>): void => {
      call.write({ commands: [{ command }] });
    };
    if (event.$case === "hello" && this.script.greets) {
      const { maxJobs, slots, idleTimeoutMs, renewMs } = this.script;
      const value = {
        protocol: 1,
        renewInterval: durationOf(renewMs),
        logBatchBytes: 65_536,
        logBatchDelay: durationOf(10),
        maxJobs,
        idleTimeout: idleTimeoutMs === undefined ? undefined : durationOf(idleTimeoutMs),
        slots,
        logQuotaBytes: 0,
        reconnectMax: undefined,
      };
      reply({ $case: "welcome", value });
    }
    if (event.$case === "renewal" && this.script.acknowledgesRenewals) {
      reply({ $case: "renewalAck", value: { sequence: event.value.sequence } });
    }
    if (event.$case === "result" && this.script.acknowledgesResults) {
      reply({ $case: "resultAck", value: { attemptId: event.value.attemptId, fenced: false } });
    }
  }

  readonly #logs = (call: Logs): void => {
    this.logs = call;
    call.on("error", () => undefined);
    call.on("end", () => call.end());
    call.write({ acks: [], creditBytes: this.script.creditBytes });
    call.on("data", (message: LogsRequest) => {
      this.batches.push(message);
      if (!this.script.acknowledgesLogs) return;
      const { attemptId, batchNumber } = message;
      const acks = [{ attemptId, batchNumber, fenced: false }];
      call.write({ acks, creditBytes: message.batch.length });
    });
  };
}
