import type { ServiceError } from "@grpc/grpc-js";
import type {
  AgentEvent,
  Assignment,
  ControlRequest,
  ControlResponse,
  ResultAck,
  ServerCommand,
  Welcome,
} from "#rpc/gen/hodei/v1/agent_service.ts";
import { msOf } from "#rpc/time.ts";
import { after } from "./after.ts";
import type { LifeOptions } from "./agent.ts";
import { attemptOf, type AttemptGround, openGround, prepareGround } from "./assignment.ts";
import type { Attempt } from "./attempt.ts";
import { Contact } from "./contact.ts";
import { exitCodes } from "./exit-codes.ts";
import { Hold } from "./hold.ts";
import { Leftovers } from "./leftovers.ts";
import { Link } from "./link.ts";
import { drainingOf, fenceAckOf, goodbyeOf, helloOf, knownOf, renewalOf } from "./messages.ts";
import { nextDue, overdueOf, renewPauseMs } from "./patience.ts";
import { Recent } from "./recent.ts";
import { Starts } from "./starts.ts";
import { Turn } from "./turn.ts";
import { Uplink } from "./uplink.ts";

const byeMs = 2_000;
/** How long a stopped agent waits for its results to be acknowledged. */
const deliverMs = 10_000;
const rememberedAttempts = 1_000;

/** What the agent does from redeeming to its end: renews, runs what it is assigned, delivers, and leaves. */
export class AgentLife {
  readonly #options: LifeOptions;
  readonly #attempts = new Map<string, Attempt>();
  readonly #over = new Recent(rememberedAttempts);
  readonly #link: Link<ControlRequest, ControlResponse>;
  readonly #uplink: Uplink;
  readonly #turn = new Turn<AgentEvent>((events) => this.#link.send({ events }));
  readonly #contact = new Contact(performance.now());
  readonly #end = Promise.withResolvers<number>();
  readonly #leftovers = new Leftovers();
  readonly #hold: Hold;
  readonly #ground: AttemptGround;
  readonly #starts: Starts;
  #welcome: Welcome | undefined;
  #isGreeted = false;
  #isDraining = false;
  #isStopping = false;
  #isLeaving = false;
  #taken = 0;
  #renewPauseMs = 0;
  readonly #timers: Partial<Record<"renew" | "contact" | "idle" | "deliver", NodeJS.Timeout>> = {};

  constructor(options: LifeOptions) {
    const { servers, tools, session } = options;
    this.#options = options;
    this.#hold = new Hold(options.log, () => this.#leaveWhenDone());
    this.#starts = new Starts({
      attempts: this.#attempts,
      contactAt: () => this.#contact.lastAt,
      ask: () => this.#isGreeted && this.#renew(),
    });
    this.#ground = openGround(options, tools, {
      onStarted: (attempt) => this.#tell(...knownOf([attempt])),
      onLog: () => this.#uplink.pump(),
      onEnded: (attempt) => this.#deliver(attempt),
    });
    const onRefused = (error: ServiceError): void => this.#refuse(error);
    this.#uplink = new Uplink({ servers, session, attempts: this.#attempts, onRefused });
    this.#link = new Link({
      open: () => servers.current.client.control(session()),
      backoff: servers.backoff(),
      answerMs: servers.answerMs,
      onOpen: () => this.#greet(),
      onMessage: ({ commands }) => this.#obey(commands),
      onLost: (error) => this.#lose(error),
      onRefused,
    });
  }

  async run(): Promise<number> {
    const { stop, kill } = this.#options;
    const stopAll = (): void => this.#stopAll();
    const killAll = (): void => this.#attempts.forEach((attempt) => attempt.kill());
    stop.addEventListener("abort", stopAll, { once: true });
    kill.addEventListener("abort", killAll, { once: true });
    this.#link.open();
    this.#watchContact();
    if (stop.aborted) stopAll();
    const code = await this.#end.promise;
    stop.removeEventListener("abort", stopAll);
    kill.removeEventListener("abort", killAll);
    return code;
  }

  #greet(): void {
    this.#isGreeted = false;
    this.#contact.open(performance.now());
    const slots = this.#welcome?.slots ?? this.#options.slots;
    this.#link.send({ events: [helloOf(this.#attempts.values(), slots)] });
  }

  #obey(commands: readonly ServerCommand[]): void {
    for (const { command } of commands) {
      switch (command?.$case) {
        case "welcome":
          this.#begin(command.value);
          break;
        case "renewalAck":
          this.#contact.acknowledge(command.value.sequence);
          this.#starts.confirm();
          break;
        case "assignment":
          this.#take(command.value);
          break;
        case "go":
          this.#starts.add(command.value.attemptId);
          break;
        case "cancel": {
          const { attemptId, grace, reason } = command.value;
          const attempt = this.#attempts.get(attemptId);
          attempt?.stop("cancelled", reason, msOf(grace) ?? attempt.spec.cancelGraceMs);
          break;
        }
        case "resultAck":
          this.#forget(command.value);
          break;
        case "fenced":
          this.#fence(command.value.attemptId);
          break;
        case "drain":
          this.#isDraining = true;
          break;
        case undefined:
          break;
      }
    }
    this.#leaveWhenDone();
  }

  #begin(welcome: Welcome): void {
    this.#link.settle();
    this.#uplink.follow();
    this.#options.servers.bound(msOf(welcome.reconnectMax));
    this.#welcome = welcome;
    this.#isGreeted = true;
    this.#contact.welcome(this.#attempts.size > 0);
    // Whatever was on its way when the last stream broke is told again; the server knows it by its attempt.
    this.#tell(...knownOf(this.#attempts.values()));
    this.#renew();
    this.#watchIdle();
    prepareGround(this.#ground, welcome);
  }

  #renew(): void {
    clearTimeout(this.#timers.renew);
    const now = performance.now();
    this.#turn.add(renewalOf(this.#contact.renew(now), this.#attempts.values(), now));
    const askedMs = msOf(this.#welcome?.renewInterval) ?? 5_000;
    this.#renewPauseMs = renewPauseMs(this.#attempts, askedMs);
    this.#timers.renew = setTimeout(() => this.#renew(), this.#renewPauseMs);
  }

  #lose(error: ServiceError | undefined): void {
    this.#isGreeted = false;
    clearTimeout(this.#timers.renew);
    const { address: serverAddress } = this.#options.servers.current;
    const facts = { serverAddress, code: error?.code, detail: error?.details };
    this.#options.log.warn(facts, "lost the server; connecting again");
    this.#options.servers.leave();
    if (this.#isStopping && this.#attempts.size === 0) this.#leave("terminated", exitCodes.stopped);
  }

  #refuse(error: ServiceError): void {
    this.#options.log.error({ code: error.code, detail: error.details }, "the session is over");
    for (const attempt of this.#attempts.values()) void attempt.abandon();
    this.#attempts.clear();
    this.#leave("", exitCodes.refused);
  }

  #take(assignment: Assignment): void {
    const { attemptId: id, jobId, go } = assignment;
    if (this.#over.has(id) || this.#isLeaving) return;
    if (this.#attempts.has(id)) {
      if (go) this.#starts.add(id);
      return;
    }
    this.#taken++;
    clearTimeout(this.#timers.idle);
    const { attempt, error } = attemptOf(assignment, this.#welcome, this.#ground);
    this.#attempts.set(id, attempt);
    if (error !== undefined) attempt.refuse(error);
    const { correlationId, attemptNumber } = assignment;
    this.#options.log.debug({ jobId, attempt: attemptNumber, correlationId }, "assigned");
    this.#uplink.open();
    if (this.#isStopping) attempt.stop("worker_stopped", "", 0);
    else if (go) this.#starts.add(id);
    else attempt.prepare();
    if (attempt.spec.disconnectToleranceMs < 4 * this.#renewPauseMs) this.#renew();
    this.#watchContact();
  }

  #deliver(attempt: Attempt): void {
    const { jobId, outcome } = attempt;
    const facts = { jobId, exitCode: outcome?.exitCode, cause: outcome?.failure?.cause };
    this.#options.log.debug(facts, "ended");
    const isHeld = this.#hold.begin(attempt, this.#welcome?.maxJobs ?? 0);
    // What is held goes with the agent's own directory.
    const clean = (): void => (isHeld ? undefined : attempt.clean());
    if (!attempt.mayHaveRun) clean();
    else this.#leftovers.add(attempt.marker, clean);
    this.#tell(...knownOf([attempt]));
    this.#watchContact();
  }

  /** Sends it once the server has greeted; what comes before that is told from `#begin`. */
  #tell(...events: readonly AgentEvent[]): void {
    if (this.#isGreeted) events.forEach((event) => this.#turn.add(event));
  }

  #forget({ attemptId: id, fenced }: ResultAck): void {
    const attempt = this.#attempts.get(id);
    if (attempt?.outcome === undefined) return;
    if (fenced) this.#hold.end();
    attempt.forget();
    this.#drop(id);
  }

  #fence(id: string): void {
    const attempt = this.#attempts.get(id);
    if (attempt === undefined) return this.#tell(fenceAckOf(id, this.#over.has(id)));
    this.#options.log.warn({ jobId: attempt.jobId }, "the attempt is no longer ours; killed");
    this.#hold.end();
    // Nobody may take it for gone before it is, nor wait for ever for what cannot be killed.
    void attempt.abandon().then((isGone) => {
      this.#drop(id);
      if (isGone) this.#tell(fenceAckOf(id, attempt.mayHaveRun));
      this.#leaveWhenDone();
    });
  }

  #drop(id: string): void {
    this.#attempts.delete(id);
    this.#over.add(id);
    this.#watchIdle();
    this.#watchContact();
  }

  #stopAll(): void {
    this.#isStopping = true;
    const { stopGraceMs } = this.#options;
    let longestMs = 0;
    for (const attempt of this.#attempts.values()) {
      const graceMs = Math.min(stopGraceMs, attempt.spec.cancelGraceMs);
      longestMs = Math.max(longestMs, graceMs);
      attempt.stop("worker_stopped", "", graceMs);
    }
    const leave = (): void => this.#leave("terminated", exitCodes.stopped);
    const facts = { attempts: this.#attempts.size, graceMs: longestMs };
    this.#options.log.info(facts, "asked to stop; ending the jobs and reporting them");
    this.#tell(drainingOf("terminated", longestMs));
    this.#timers.deliver = setTimeout(leave, longestMs + deliverMs);
    this.#leaveWhenDone();
  }

  #leaveWhenDone(): void {
    if (this.#attempts.size > 0) return;
    const maxJobs = this.#welcome?.maxJobs ?? 0;
    if (this.#isStopping) this.#leave("terminated", exitCodes.stopped);
    else if (this.#isDraining) this.#leave("drained", exitCodes.left);
    else if (this.#hold.isOn) return;
    else if (maxJobs > 0 && this.#taken >= maxJobs) this.#leave("done", exitCodes.left);
  }

  #watchIdle(): void {
    clearTimeout(this.#timers.idle);
    const idleMs = msOf(this.#welcome?.idleTimeout);
    if (idleMs === undefined || this.#attempts.size > 0 || this.#hold.isOn) return;
    this.#timers.idle = after(idleMs, () => this.#leave("idle", exitCodes.left));
  }

  /** Stops what has been without contact for too long, and looks again when the next one is due. */
  #watchContact(): void {
    clearTimeout(this.#timers.contact);
    if (this.#isLeaving) return;
    const now = performance.now();
    const { lastAt: lastContactAt } = this.#contact;
    for (const attempt of overdueOf(this.#attempts, lastContactAt, now)) {
      attempt.stop("self_stopped", "", 0);
    }
    const patienceMs = this.#options.disconnectToleranceMs;
    const due = nextDue(this.#attempts, { lastContactAt, patienceMs });
    const isIdle = [...this.#attempts.values()].every(({ outcome }) => outcome !== undefined);
    if (due <= now && isIdle) {
      this.#options.log.error({}, "no contact for too long; leaving");
      this.#leave("", exitCodes.unreachable);
    } else if (due > now) {
      this.#timers.contact = after(due - now, () => this.#watchContact());
    }
  }

  #leave(reason: string, code: number): void {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#options.log.info({ reason }, "leaving");
    for (const attempt of this.#attempts.values()) void attempt.abandon();
    this.#leftovers.sweep();
    if (this.#isGreeted && reason !== "") this.#turn.add(goodbyeOf(reason));
    this.#turn.flush();
    void Promise.all([this.#uplink.close(byeMs), this.#link.close(byeMs)]).then(() =>
      this.#end.resolve(code),
    );
  }
}
