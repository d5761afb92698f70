import {
  type ClientDuplexStream,
  credentials,
  type Metadata,
  Metadata as MetadataClass,
  type ServiceError,
} from "@grpc/grpc-js";
import { channelOptions } from "#rpc/channel.ts";
import {
  type AgentEvent,
  AgentServiceClient,
  type Assignment,
  type ControlRequest,
  type ControlResponse,
  type HeldAttempt,
  type LogsRequest,
  type LogsResponse,
  type ServerCommand,
} from "#rpc/gen/hodei/v1/agent_service.ts";
import { createSecret } from "#worker/secret.ts";

export interface FakeAgentOptions {
  readonly address: string;
  readonly workerId: string;
  readonly otp?: string;
  readonly session?: string;
  readonly slots?: number;
}

type Commands = NonNullable<ServerCommand["command"]>;
type CommandOf<Case extends Commands["$case"]> = Extract<Commands, { $case: Case }>["value"];

/** An agent without processes: it speaks the real protocol over real gRPC and does what a test, or a benchmark, tells it to. */
export class FakeAgent implements AsyncDisposable {
  readonly options: FakeAgentOptions;
  readonly session: string;
  readonly client: AgentServiceClient;

  constructor(options: FakeAgentOptions) {
    this.options = options;
    this.session = options.session ?? createSecret();
    this.client = new AgentServiceClient(options.address, credentials.createInsecure(), {
      ...channelOptions({ isShared: false }),
    });
  }

  async redeem(otp = this.options.otp ?? ""): Promise<void> {
    await this.#redeemWith("hodei-otp", otp);
  }

  /** Redeems with a token that the worker's provider vouches for. */
  async attest(token: string): Promise<void> {
    await this.#redeemWith("hodei-attestation", token);
  }

  async #redeemWith(header: string, proof: string): Promise<void> {
    const metadata = this.metadata();
    metadata.set(header, proof);
    await new Promise<void>((resolve, reject) => {
      this.client.redeem({ protocol: 1, agentVersion: "fake" }, metadata, (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  /** Opens a Control stream and says hello, unless `hello` is false. */
  control(options: { readonly held?: HeldAttempt[]; readonly hello?: boolean } = {}): FakeControl {
    const control = new FakeControl(this.client.control(this.metadata()));
    if (options.hello !== false) control.send(this.hello(options.held));
    return control;
  }

  logs(): FakeLogs {
    return new FakeLogs(this.client.logs(this.metadata()));
  }

  hello(held: HeldAttempt[] = []): AgentEvent["event"] {
    const { slots = 1 } = this.options;
    const value = {
      protocol: 1,
      agentVersion: "fake",
      slots,
      attempts: held,
      hostname: "fake-host",
      platform: "linux/x64",
    };
    return { $case: "hello", value };
  }

  metadata(): Metadata {
    const metadata = new MetadataClass();
    metadata.set("hodei-worker-id", this.options.workerId);
    metadata.set("hodei-session", this.session);
    return metadata;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
  }
}

/** One Control stream; everything that the server said is kept. */
export class FakeControl {
  readonly commands: Commands[] = [];
  readonly messages: ControlResponse[] = [];
  readonly stream: ClientDuplexStream<ControlRequest, ControlResponse>;
  readonly #taken = new Set<Commands>();
  readonly #watchers = new Set<() => void>();
  #error: ServiceError | undefined;
  #hasEnded = false;

  constructor(stream: ClientDuplexStream<ControlRequest, ControlResponse>) {
    this.stream = stream;
    stream.on("data", (message: ControlResponse) => {
      this.messages.push(message);
      for (const { command } of message.commands) if (command) this.commands.push(command);
      this.#changed();
    });
    stream.on("error", (error: ServiceError) => {
      this.#error = error;
      this.#changed();
    });
    stream.on("end", () => {
      this.#hasEnded = true;
      this.#changed();
    });
  }

  send(...events: AgentEvent["event"][]): void {
    this.stream.write({ events: events.map((event) => ({ event })) });
  }

  /** The next command of this kind that was not yet taken. */
  async next<Case extends Commands["$case"]>(kind: Case): Promise<CommandOf<Case>> {
    for (;;) {
      const found = this.commands.find((one) => one.$case === kind && !this.#taken.has(one));
      if (found !== undefined) {
        this.#taken.add(found);
        return found.value as CommandOf<Case>;
      }
      if (this.#error !== undefined || this.#hasEnded) {
        throw new Error(`the stream ended before a ${kind}`, { cause: this.#error });
      }
      await this.#change();
    }
  }

  /** Sends a renewal and waits for its answer: whatever was sent before has been read then. */
  async sync(sequence = 1): Promise<void> {
    this.send({ $case: "renewal", value: { sequence, usage: [] } });
    await this.next("renewalAck");
  }

  /** How the server ended the stream. */
  async error(): Promise<ServiceError> {
    while (this.#error === undefined) await this.#change();
    return this.#error;
  }

  count(kind: Commands["$case"]): number {
    return this.commands.filter((command) => command.$case === kind).length;
  }

  close(): void {
    this.stream.cancel();
  }

  async #change(): Promise<void> {
    await new Promise<void>((resolve) => {
      const watcher = (): void => {
        this.#watchers.delete(watcher);
        resolve();
      };
      this.#watchers.add(watcher);
    });
  }

  #changed(): void {
    for (const watcher of this.#watchers) watcher();
  }
}

/** One Logs stream. */
export class FakeLogs {
  readonly stream: ClientDuplexStream<LogsRequest, LogsResponse>;
  readonly acked = new Map<string, number>();
  readonly fenced = new Set<string>();
  credit = 0;
  error: ServiceError | undefined;
  responses = 0;

  constructor(stream: ClientDuplexStream<LogsRequest, LogsResponse>) {
    this.stream = stream;
    stream.on("data", (response: LogsResponse) => {
      this.responses++;
      this.credit += response.creditBytes;
      for (const { attemptId, batchNumber, fenced } of response.acks) {
        if (fenced) this.fenced.add(attemptId);
        else this.acked.set(attemptId, batchNumber);
      }
    });
    stream.on("error", (error: ServiceError) => (this.error = error));
  }

  send(
    attempt: Pick<Assignment, "attemptId" | "jobId">,
    batchNumber: number,
    bytes: Uint8Array,
  ): void {
    this.credit -= bytes.length;
    const { attemptId, jobId } = attempt;
    this.stream.write({ attemptId, jobId, batchNumber, batch: Buffer.from(bytes) });
  }

  close(): void {
    this.stream.cancel();
  }
}

export function resultOf(
  { attemptId, jobId }: Pick<Assignment, "attemptId" | "jobId">,
  more: {
    readonly exitCode?: number;
    readonly lastLogBatch?: number;
    readonly endedAt?: Date;
  } = {},
): AgentEvent["event"] {
  const endedAt = more.endedAt ?? new Date();
  const value = {
    attemptId,
    jobId,
    exitCode: more.exitCode ?? 0,
    signal: 0,
    failure: undefined,
    startedAt: endedAt,
    endedAt,
    lastLogBatch: more.lastLogBatch ?? 0,
    peak: undefined,
  };
  return { $case: "result", value };
}

export function startedOf({
  attemptId,
  jobId,
}: Pick<Assignment, "attemptId" | "jobId">): AgentEvent["event"] {
  return { $case: "started", value: { attemptId, jobId, at: new Date() } };
}

/** Runs every job as nothing at all: its result leaves with those of all that came in the same message. */
export function runNoOps(control: FakeControl, onResult: (count: number) => void): void {
  control.stream.on("data", (message: ControlResponse) => {
    const results = message.commands.flatMap(({ command }) =>
      command?.$case === "assignment" ? [resultOf(command.value)] : [],
    );
    if (results.length > 0) control.send(...results);
    const acks = message.commands.filter(({ command }) => command?.$case === "resultAck").length;
    if (acks > 0) onResult(acks);
    // What a benchmark does not look at is not kept.
    control.commands.length = 0;
    control.messages.length = 0;
  });
}
