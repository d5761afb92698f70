import { randomBytes } from "node:crypto";
import { type ClientDuplexStream, credentials, Metadata } from "@grpc/grpc-js";
import {
  type AgentEvent,
  AgentServiceClient,
  type Assignment,
  type ControlRequest,
  type ControlResponse,
  type ServerCommand,
} from "#rpc/gen/hodei/v1/agent_service.ts";
import { JobSpec } from "#rpc/gen/hodei/v1/job.ts";
import { channelOptions } from "#rpc/channel.ts";
import { lastBatchOf, type LogLoad, type LogResult, pushLogs } from "./push.ts";
import { quantile } from "./spin.ts";

/**
 * Agents that speak the whole protocol and run nothing: a job is over as soon as it is assigned, or is held so that logs can be sent for it.
 * Each has a connection of its own.
 */
export const calls = {
  connect,
  finished,
  starts,
  held,
  detach,
  attach,
  count: () => done,
  release,
  push,
  renewals,
  disconnect,
  stop: disconnect,
};

export interface Seat {
  readonly workerId: string;
  readonly otp: string;
}

interface Agent {
  readonly client: AgentServiceClient;
  readonly credentials: Metadata;
  control: ClientDuplexStream<ControlRequest, ControlResponse>;
  readonly slots: number;
  /** Whether jobs end at once. */
  ends: boolean;
  outbox: AgentEvent[];
  held: Assignment[];
  renewal: number;
  readonly renewed: Map<number, number>;
}

let agents: Agent[] = [];
let done = 0;
let startDelays: number[] = [];
let renewalTimes: number[] = [];
const waiters = new Set<() => void>();

async function connect(options: {
  readonly address: string;
  readonly seats: readonly Seat[];
  readonly slots: number;
  readonly ends: boolean;
}): Promise<void> {
  for (let at = 0; at < options.seats.length; at += 50) {
    await Promise.all(options.seats.slice(at, at + 50).map((seat) => open(seat, options)));
  }
}

async function open(
  seat: Seat,
  options: { readonly address: string; readonly slots: number; readonly ends: boolean },
): Promise<void> {
  const session = randomBytes(32).toString("base64url");
  const client = new AgentServiceClient(
    options.address,
    credentials.createInsecure(),
    channelOptions({ isShared: false }),
  );
  const redeem = metadataOf({
    "hodei-worker-id": seat.workerId,
    "hodei-otp": seat.otp,
    "hodei-session": session,
  });
  await new Promise<void>((resolve, reject) => {
    client.redeem({ protocol: 1, agentVersion: "bench" }, redeem, (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  const own = metadataOf({ "hodei-worker-id": seat.workerId, "hodei-session": session });
  const agent: Agent = {
    client,
    credentials: own,
    control: client.control(own),
    slots: options.slots,
    ends: options.ends,
    outbox: [],
    held: [],
    renewal: 0,
    renewed: new Map(),
  };
  agents.push(agent);
  await greet(agent);
}

/** Says hello on the agent's Control stream and resolves when it is welcome. */
async function greet(agent: Agent): Promise<void> {
  const { control } = agent;
  control.on("error", (error) => {
    if (agents.includes(agent) && agent.control === control && !isDetached)
      console.error(`agent: ${error.message}`);
  });
  const welcomed = new Promise<void>((resolve) => {
    control.on("data", (response: ControlResponse) => {
      for (const { command } of response.commands) {
        if (command?.$case === "welcome") resolve();
        else if (command !== undefined) obey(agent, command);
      }
    });
  });
  const hello = {
    protocol: 1,
    agentVersion: "bench",
    slots: agent.slots,
    attempts: [],
    hostname: "bench",
    platform: "bench",
  };
  control.write({ events: [{ event: { $case: "hello", value: hello } }] });
  await welcomed;
}

let isDetached = false;

/** Closes the Control streams, as a lost connection does. */
async function detach(): Promise<void> {
  isDetached = true;
  for (const { control } of agents) control.cancel();
  await new Promise((resolve) => setTimeout(resolve, 50));
}

async function attach(): Promise<void> {
  isDetached = false;
  for (const agent of agents) {
    agent.control = agent.client.control(agent.credentials);
    await greet(agent);
  }
}

function metadataOf(entries: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(entries)) metadata.set(name, value);
  return metadata;
}

const prepared = new Map<string, Assignment>();

function obey(agent: Agent, command: NonNullable<ServerCommand["command"]>): void {
  if (command.$case === "assignment") {
    if (command.value.go) begin(agent, command.value);
    else prepared.set(command.value.attemptId, command.value);
  } else if (command.$case === "go") {
    const assignment = prepared.get(command.value.attemptId);
    prepared.delete(command.value.attemptId);
    if (assignment !== undefined) begin(agent, assignment);
  } else if (command.$case === "resultAck") {
    done++;
    for (const waiter of waiters) waiter();
  } else if (command.$case === "renewalAck") {
    const sentAt = agent.renewed.get(command.value.sequence);
    agent.renewed.delete(command.value.sequence);
    if (sentAt !== undefined) renewalTimes.push(performance.now() - sentAt);
  }
}

/** The job's process "starts": the same that the real agent does, but for the process. */
function begin(agent: Agent, assignment: Assignment): void {
  const spec = JobSpec.decode(assignment.spec);
  const submittedAt = Number(spec.env["AT"] ?? 0);
  if (submittedAt > 0) startDelays.push(performance.timeOrigin + performance.now() - submittedAt);
  const at = new Date();
  const { attemptId, jobId } = assignment;
  tell(agent, { event: { $case: "started", value: { attemptId, jobId, at } } });
  if (agent.ends) end(agent, assignment, 0);
  else {
    agent.held.push(assignment);
    for (const waiter of waiters) waiter();
  }
}

function end(agent: Agent, assignment: Assignment, lastLogBatch: number): void {
  const value = {
    attemptId: assignment.attemptId,
    jobId: assignment.jobId,
    exitCode: 0,
    signal: 0,
    failure: undefined,
    startedAt: new Date(),
    endedAt: new Date(),
    lastLogBatch,
    peak: { cpuSeconds: 0, memoryBytes: 0, outputBytes: 0 },
  };
  tell(agent, { event: { $case: "result", value } });
}

/** What gathers within one turn of the event loop is one message. */
function tell(agent: Agent, event: AgentEvent): void {
  agent.outbox.push(event);
  if (agent.outbox.length > 1) return;
  setImmediate(() => {
    const events = agent.outbox;
    agent.outbox = [];
    agent.control.write({ events });
  });
}

/** Resolves once so many results are acknowledged in all. */
async function finished(count: number): Promise<void> {
  await until(() => done >= count);
}

/** Resolves once so many jobs are held, and names them. */
async function held(
  count: number,
): Promise<readonly { readonly jobId: string; readonly attemptId: string }[]> {
  const all = (): Assignment[] => agents.flatMap((agent) => agent.held);
  await until(() => all().length >= count);
  return all().map(({ jobId, attemptId }) => ({ jobId, attemptId }));
}

async function until(isTrue: () => boolean): Promise<void> {
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if (!isTrue()) return;
      waiters.delete(look);
      resolve();
    };
    waiters.add(look);
    look();
  });
}

/** Ends the jobs that are held. */
async function release(): Promise<void> {
  const before = done;
  let count = 0;
  for (const agent of agents) {
    for (const assignment of agent.held) {
      end(agent, assignment, lastBatchOf(assignment.attemptId));
      count++;
    }
    agent.held = [];
  }
  await finished(before + count);
}

/** Time from submit to start of the jobs since the last call. */
function starts(): { readonly p50Ms: number; readonly p99Ms: number; readonly count: number } {
  const seen = startDelays;
  startDelays = [];
  return { p50Ms: quantile(seen, 0.5), p99Ms: quantile(seen, 0.99), count: seen.length };
}

/** Sends logs for the first held job; see `pushLogs`. */
async function push(load: LogLoad): Promise<LogResult> {
  const agent = agents.find((one) => one.held.length > 0);
  const assignment = agent?.held[0];
  if (agent === undefined || assignment === undefined) throw new Error("no job is held");
  return pushLogs(agent.client.logs(agent.credentials), assignment, load);
}

/** Renews every agent's lease so often for so long, and says how long the answers took. */
async function renewals(load: {
  readonly everyMs: number;
  readonly ms: number;
}): Promise<{ readonly p50Ms: number; readonly p99Ms: number; readonly count: number }> {
  renewalTimes = [];
  const endsAt = performance.now() + load.ms;
  while (performance.now() < endsAt) {
    for (const agent of agents) {
      const sequence = ++agent.renewal;
      agent.renewed.set(sequence, performance.now());
      agent.control.write({
        events: [{ event: { $case: "renewal", value: { sequence, usage: [] } } }],
      });
    }
    await new Promise((resolve) => setTimeout(resolve, load.everyMs));
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  return {
    p50Ms: quantile(renewalTimes, 0.5),
    p99Ms: quantile(renewalTimes, 0.99),
    count: renewalTimes.length,
  };
}

function disconnect(): void {
  const all = agents;
  agents = [];
  for (const agent of all) agent.client.close();
}
