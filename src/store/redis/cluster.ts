import { AbstractConnector, Redis, type RedisOptions } from "ioredis";
import { connect, type Socket } from "node:net";
import { connect as connectSecure } from "node:tls";

export interface Node {
  readonly host: string;
  readonly port: number;
}

/**
 * Makes connections that find, each time, the primary of a cluster that has the slot of `key`. All that an instance keeps, but for large specs, is in
 * one slot, so that everything else about such a connection is as with a single server.
 */
export function ownerConnector(seeds: readonly Node[], key: string) {
  let known: readonly Node[] = [];
  return class OwnerConnector extends AbstractConnector {
    readonly #options: RedisOptions;

    constructor(options: unknown) {
      const given = options as RedisOptions;
      super(given.disconnectTimeout ?? 2_000);
      this.#options = given;
    }

    override async connect(): Promise<Socket> {
      this.connecting = true;
      const { tls } = this.#options;
      const node = await this.#find();
      if (!this.connecting) throw new Error("Connection is closed.");
      const stream = tls ? connectSecure({ ...node, ...tls }) : connect({ ...node });
      this.stream = stream;
      stream.once("error", (error: Error) => {
        this.firstError = error;
      });
      return stream;
    }

    /** Where nobody knows, the first one says itself what is wrong with it; it does nothing for a slot that it has not got. */
    async #find(): Promise<Node> {
      try {
        const found = await findOwner([...shuffled(known), ...seeds], this.#options, key);
        known = found.nodes;
        return found.owner;
      } catch {
        return seeds[0] ?? { host: "", port: 0 };
      }
    }
  };
}

/** Which primary has which slots, and all nodes that are known. */
export interface SlotMap {
  readonly ranges: readonly SlotRange[];
  readonly nodes: readonly Node[];
}

export interface SlotRange {
  readonly from: number;
  readonly to: number;
  readonly owner: Node | undefined;
}

interface Owner {
  readonly owner: Node;
  readonly nodes: readonly Node[];
}

async function findOwner(
  nodes: readonly Node[],
  options: RedisOptions,
  key: string,
): Promise<Owner> {
  return askOneOf(nodes, options, async (asked, node) => {
    const slot = Number(await asked.cluster("KEYSLOT", key));
    const map = slotMapOf(await asked.cluster("SLOTS"), node);
    const owner = map.ranges.find(({ from, to }) => from <= slot && slot <= to)?.owner;
    if (owner === undefined) throw new Error(`nobody in the cluster has slot ${slot}`);
    return { owner, nodes: map.nodes };
  });
}

/** Asks in an order of chance those that are known, then the seeds. */
export function findSlots(
  { known, seeds }: { readonly known: readonly Node[]; readonly seeds: readonly Node[] },
  options: RedisOptions,
): Promise<SlotMap> {
  return askOneOf([...shuffled(known), ...seeds], options, async (asked, node) =>
    slotMapOf(await asked.cluster("SLOTS"), node),
  );
}

/** Asks one node after the other until one knows. */
async function askOneOf<Answer>(
  nodes: readonly Node[],
  options: RedisOptions,
  ask: (asked: Redis, node: Node) => Promise<Answer>,
): Promise<Answer> {
  let last: unknown = new Error("no node of the cluster was named");
  for (const node of nodes) {
    try {
      return await askNode(node, options, ask);
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

async function askNode<Answer>(
  node: Node,
  options: RedisOptions,
  ask: (asked: Redis, node: Node) => Promise<Answer>,
): Promise<Answer> {
  const { username, password, tls, connectTimeout, commandTimeout } = options;
  const limits = { connectTimeout, commandTimeout, maxRetriesPerRequest: 0 } as const;
  const asked = new Redis({
    ...node,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
    ...limits,
    protocol: 2,
    lazyConnect: true,
    // A node that loads knows nothing yet.
    retryStrategy: () => null,
  });
  let problem: Error | undefined;
  asked.on("error", (error: Error) => {
    problem = error;
  });
  try {
    await asked.connect();
    return await ask(asked, node);
  } catch (error) {
    throw problem ?? error;
  } finally {
    asked.disconnect();
  }
}

function slotMapOf(answer: unknown, asked: Node): SlotMap {
  const found = (answer as readonly unknown[]).map((range) => {
    const [from, to, ...nodes] = range as readonly [number, number, ...unknown[]];
    return { from, to, nodes: nodes.map((node) => nodeOf(node, asked)) };
  });
  const ranges = found.map(({ from, to, nodes }) => ({ from, to, owner: nodes[0] }));
  return { ranges, nodes: found.flatMap(({ nodes }) => nodes) };
}

/** A node that does not know its own address leaves it out. */
function nodeOf(answer: unknown, asked: Node): Node {
  const [host, port] = answer as readonly [unknown, unknown];
  const isNamed = typeof host === "string" && host !== "" && host !== "?";
  return { host: isNamed ? host : asked.host, port: Number(port) };
}

function shuffled(nodes: readonly Node[]): readonly Node[] {
  return nodes
    .map((node) => ({ node, place: Math.random() }))
    .toSorted((one, other) => one.place - other.place)
    .map(({ node }) => node);
}
