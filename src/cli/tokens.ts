import type { Role } from "#client/client.ts";
import { openConsole } from "./console.ts";
import { exits } from "./exit.ts";
import type { Call } from "./program.ts";
import { formatTable, formatTime } from "./table.ts";
import { take } from "./take.ts";

interface CreateFlags {
  readonly subject: string;
  readonly tenant: string;
  readonly role: Role;
  readonly ttl?: number;
}

/** The secret alone goes to standard output, so that it can be written to a file. */
export async function createToken({ host, flags }: Call<CreateFlags>): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const { subject, tenant, role, ttl: ttlMs } = flags;
  const created = await client.tokens.create({ subject, tenant, role, ttlMs });
  if (console.isJson) {
    await console.printJson(created);
    return exits.done;
  }
  await console.print(created.secret);
  await console.note(`token ${created.token.id}: this is the only time that its secret is shown`);
  return exits.done;
}

export async function listTokens({ host, flags }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const tokens = await take(client.tokens.list(), Infinity);
  if (console.isJson) {
    await console.printJson(tokens);
    return exits.done;
  }
  const head = ["TOKEN", "SUBJECT", "TENANT", "ROLE", "CREATED", "EXPIRES", "REVOKED"];
  const rows = tokens.map(({ id, subject, tenant, role, createdAt, expiresAt, revokedAt }) => [
    id,
    subject,
    tenant,
    role,
    formatTime(createdAt),
    formatTime(expiresAt),
    formatTime(revokedAt),
  ]);
  await console.print(formatTable(head, rows));
  return exits.done;
}

export async function revokeTokens({ host, flags, args }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  for (const id of args) {
    const token = await client.tokens.revoke(id);
    if (console.isJson) await console.printJson(token);
    else await console.print(`${token.id} revoked`);
  }
  return exits.done;
}
