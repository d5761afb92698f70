import { Heap, Lane } from "./lane.ts";

/** What the index needs to know of a queued job. Tenants and classes are numbers here. */
export interface QueuedJob {
  readonly key: number;
  readonly tenant: number;
  readonly class: number;
  readonly priority: number;
  readonly notBefore: number;
}

export interface Kind {
  readonly tenant: number;
  readonly class: number;
  readonly lane: Lane;
}

interface TenantQueue {
  readonly tenant: number;
  readonly name: string;
  readonly pace: number;
  /** Highest priority first. */
  readonly lanes: Lane[];
  ready: number;
  /** The virtual time of the next turn. */
  start: number;
}

interface ClassQueue {
  readonly tenants: Map<number, TenantQueue>;
  /** Those that have something to claim. */
  readonly active: Set<TenantQueue>;
}

interface Place {
  readonly classQueue: ClassQueue;
  readonly queue: TenantQueue;
  readonly lane: Lane;
}

/**
 * The queue in memory, at 8 to 16 bytes for each job. Tenants of a class take turns: the one with the smallest virtual time is next, and
 * pays with 1/weight. One that comes back from having nothing to claim starts with the others at the earliest, so it has saved up nothing. When a class
 * has nothing to claim, its turns are forgotten.
 */
export class ReadyIndex {
  readonly #classes = new Map<number, ClassQueue>();
  readonly #queued = new Map<number, number>();
  readonly #delayed = new Heap<QueuedJob>((job) => job.notBefore);
  readonly #nameOf: (tenant: number) => string;
  readonly #weightOf: (name: string) => number;
  #promotedAt = 0;

  constructor(nameOf: (tenant: number) => string, weightOf: (name: string) => number) {
    this.#nameOf = nameOf;
    this.#weightOf = weightOf;
  }

  /** Jobs of the tenant, of all classes, backing off or not. */
  countQueued(tenant: number): number {
    return this.#queued.get(tenant) ?? 0;
  }

  add(job: QueuedJob): void {
    this.#count(job.tenant, 1);
    const { classQueue, queue, lane } = this.#place(job);
    if (job.notBefore > this.#promotedAt) {
      lane.waiting.add(job.key);
      this.#delayed.push(job);
      return;
    }
    lane.add(job.key);
    activate(classQueue, queue);
  }

  /** Adds a job at boot, in any order; `sort` is to follow. */
  load(job: QueuedJob, isReady: boolean): void {
    if (!isReady) return this.add(job);
    this.#count(job.tenant, 1);
    const { classQueue, queue, lane } = this.#place(job);
    lane.load(job.key);
    activate(classQueue, queue);
  }

  sort(): void {
    for (const { lane } of this.kinds()) lane.sort();
  }

  /** What has backed off until `now` may be claimed. To be called before the other calls of a step. */
  promote(now: number): void {
    if (now > this.#promotedAt) this.#promotedAt = now;
    for (let job = this.#delayed.first(); job !== undefined; job = this.#delayed.first()) {
      if (job.notBefore > this.#promotedAt) return;
      this.#delayed.shift();
      const lane = this.#find(job)?.lane;
      if (lane?.waiting.delete(job.key) !== true) continue;
      const { classQueue, queue } = this.#place(job);
      lane.add(job.key);
      activate(classQueue, queue);
    }
  }

  /** Takes out a job that is not to be claimed any more. */
  remove(job: QueuedJob): void {
    const place = this.#find(job);
    if (place === undefined) return;
    this.#count(job.tenant, -1);
    if (!place.lane.waiting.delete(job.key)) {
      place.lane.remove(job.key);
      place.queue.ready--;
    }
    this.#settle(job.class, place);
  }

  /** Takes the next job of the class, or of the tenant within it. */
  take(classNumber: number, tenant: number | undefined): QueuedJob | undefined {
    const classQueue = this.#classes.get(classNumber);
    if (classQueue === undefined) return undefined;
    const queue = nextTurn(classQueue, tenant);
    const lane = queue?.lanes.find((one) => one.ready > 0);
    const key = lane?.take();
    if (queue === undefined || lane === undefined || key === undefined) return undefined;
    queue.start += queue.pace;
    queue.ready--;
    this.#count(queue.tenant, -1);
    this.#settle(classNumber, { classQueue, queue, lane });
    const { priority } = lane;
    return { key, tenant: queue.tenant, class: classNumber, priority, notBefore: 0 };
  }

  /** Takes this very job, out of turn; its tenant pays for it. Undefined when it may not be claimed yet. */
  takeJob(job: QueuedJob): QueuedJob | undefined {
    const place = this.#find(job);
    if (place === undefined || place.lane.waiting.has(job.key)) return undefined;
    place.queue.start += place.queue.pace;
    this.remove(job);
    return job;
  }

  *kinds(): Generator<Kind> {
    for (const [classNumber, { tenants }] of this.#classes) {
      for (const { tenant, lanes } of tenants.values()) {
        for (const lane of lanes) yield { tenant, class: classNumber, lane };
      }
    }
  }

  /** Jobs of the same tenant and class that come before this one. */
  countAhead(job: QueuedJob): number {
    const place = this.#find(job);
    if (place === undefined) return 0;
    let count = place.lane.countOlder(job.key);
    for (const lane of place.queue.lanes) {
      if (lane.priority > job.priority) count += lane.ready + lane.waiting.size;
    }
    return count;
  }

  /** The job that would be claimed first of those that `isTaken` does not name; it looks at `limit` jobs of each tenant at most. */
  findFirst(
    where: { readonly class: number; readonly tenant: number | undefined; readonly limit: number },
    isTaken: (key: number) => boolean,
  ): number | undefined {
    let best: { key: number; turn: number; name: string } | undefined;
    for (const queue of this.#classes.get(where.class)?.active ?? []) {
      if (where.tenant !== undefined && queue.tenant !== where.tenant) continue;
      let place = 0;
      for (const key of firstKeys(queue, where.limit)) {
        if (!isTaken(key)) {
          const { name } = queue;
          const turn = queue.start + place * queue.pace;
          if (best === undefined || isBefore({ turn, name }, best)) best = { key, turn, name };
          break;
        }
        place++;
      }
    }
    return best?.key;
  }

  #place(job: QueuedJob): Place {
    let classQueue = this.#classes.get(job.class);
    if (classQueue === undefined) {
      classQueue = { tenants: new Map(), active: new Set() };
      this.#classes.set(job.class, classQueue);
    }
    let queue = classQueue.tenants.get(job.tenant);
    if (queue === undefined) {
      const name = this.#nameOf(job.tenant);
      const pace = 1 / this.#weightOf(name);
      queue = { tenant: job.tenant, name, pace, lanes: [], ready: 0, start: 0 };
      classQueue.tenants.set(job.tenant, queue);
    }
    let lane = queue.lanes.find((one) => one.priority === job.priority);
    if (lane === undefined) {
      lane = new Lane(job.priority);
      queue.lanes.push(lane);
      queue.lanes.sort((one, other) => other.priority - one.priority);
    }
    return { classQueue, queue, lane };
  }

  #find(job: QueuedJob): Place | undefined {
    const classQueue = this.#classes.get(job.class);
    const queue = classQueue?.tenants.get(job.tenant);
    const lane = queue?.lanes.find((one) => one.priority === job.priority);
    if (classQueue === undefined || queue === undefined || lane === undefined) return undefined;
    return { classQueue, queue, lane };
  }

  /** Forgets what is empty. */
  #settle(number: number, { classQueue, queue, lane }: Place): void {
    if (lane.ready + lane.waiting.size === 0) queue.lanes.splice(queue.lanes.indexOf(lane), 1);
    if (queue.ready > 0) return;
    classQueue.active.delete(queue);
    if (classQueue.active.size > 0) return;
    for (const [tenant, other] of classQueue.tenants) {
      other.start = 0;
      if (other.lanes.length === 0) classQueue.tenants.delete(tenant);
    }
    if (classQueue.tenants.size === 0) this.#classes.delete(number);
  }

  #count(tenant: number, change: number): void {
    const count = (this.#queued.get(tenant) ?? 0) + change;
    if (count === 0) this.#queued.delete(tenant);
    else this.#queued.set(tenant, count);
  }
}

/** One job more that may be claimed. */
function activate(classQueue: ClassQueue, queue: TenantQueue): void {
  if (queue.ready++ > 0) return;
  let earliest = Infinity;
  for (const other of classQueue.active) earliest = Math.min(earliest, other.start);
  if (earliest !== Infinity) queue.start = Math.max(queue.start, earliest);
  classQueue.active.add(queue);
}

function nextTurn(classQueue: ClassQueue, tenant: number | undefined): TenantQueue | undefined {
  if (tenant !== undefined) return classQueue.tenants.get(tenant);
  let next: TenantQueue | undefined;
  for (const queue of classQueue.active) {
    if (next === undefined || isBefore(turnOf(queue), turnOf(next))) next = queue;
  }
  return next;
}

function turnOf({ start, name }: TenantQueue): { turn: number; name: string } {
  return { turn: start, name };
}

function isBefore(
  one: { readonly turn: number; readonly name: string },
  other: { readonly turn: number; readonly name: string },
): boolean {
  return one.turn < other.turn || (one.turn === other.turn && one.name < other.name);
}

function* firstKeys(queue: TenantQueue, limit: number): Generator<number> {
  let left = limit;
  for (const lane of queue.lanes) {
    for (const key of lane.keys()) {
      if (left-- <= 0) return;
      yield key;
    }
  }
}
