import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import type { Config } from "#config.ts";
import { HodeiError } from "#error.ts";
import type { SharedAuthorities } from "#rpc/ca.ts";
import type { ReplicaSelf } from "#scheduler/lead.ts";
import type { Store } from "#store/store.ts";
import { openSecretBox } from "./server-secrets.ts";

// What servers that share a store have together, and what tells them apart.

/** Each process is another replica: what one that was killed had is nobody's, until its time runs out. */
export function replicaOf(config: Config, address: () => string): ReplicaSelf {
  const id = `${hostname().slice(0, 64)}-${process.pid}-${randomBytes(4).toString("hex")}`;
  return { id, address, startedAt: Date.now(), leaseMs: config.replicaLeaseMs };
}

/** Agents that one replica started are to trust all of them, so they have their authority together: in the store, sealed. Undefined on a store of one's own. */
export async function sharedAuthorities(
  config: Config,
  { replicas }: Pick<Store, "replicas">,
  directory: string,
): Promise<SharedAuthorities | undefined> {
  if (replicas === undefined) return undefined;
  const box = await openSecretBox(config, directory);
  const open = async (sealed: Uint8Array, name: string) => {
    try {
      return parse(await box.open(sealed, name));
    } catch (cause) {
      const text = "HODEI_ENCRYPTION_KEY: is not the key of the other servers on this store";
      const hint = "HODEI_TLS_AUTO on several servers needs the same key for all of them";
      throw new HodeiError("invalid_argument", text, { cause, hint });
    }
  };
  return {
    async find(number) {
      const name = nameOf(number);
      const sealed = await replicas.findKept(name);
      return sealed && open(sealed, name);
    },
    async keep(number, { certificate, key }) {
      const name = nameOf(number);
      const sealed = await box.seal(JSON.stringify({ certificate, key }), name);
      return open(await replicas.keep(name, sealed), name);
    },
  };
}

function nameOf(number: number): string {
  return `authority-${number}`;
}

function parse(text: string): { readonly certificate: string; readonly key: string } {
  const { certificate, key } = JSON.parse(text) as Record<string, unknown>;
  if (typeof certificate === "string" && typeof key === "string") return { certificate, key };
  throw new Error("it holds no authority");
}
