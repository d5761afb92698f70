import { createPrivateKey, randomBytes, X509Certificate } from "node:crypto";
import { chmod, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import { HodeiError } from "#error.ts";
import type { Logger } from "#telemetry.ts";
import { createKey, type Identity, issueAuthority, issueServer } from "./ca-issue.ts";

/*
 * An authority of the server's own, in files: `authority-<n>.crt` and `.key`, the server's certificate and key that it signs, and `ca.crt`, which is what
 * others have to trust.
 *
 * Long before an authority ends there is a second one. From then on `ca.crt` holds both, while the older one goes on signing: whoever got `ca.crt` before
 * knows no other. Once nobody of before may be left, the newer one signs and the older one is deleted. Everything follows from the files and the clock, so
 * that a restart changes nothing. The server's key stays when its certificate is renewed: one file changes, by a rename, and is never half of a pair.
 */

export interface AuthorityTimes {
  readonly authorityMs: number;
  /** How long before the end of an authority there is a newer one. */
  readonly rotateBeforeMs: number;
  /** How long people have to take the newer one over; agents are waited for in any case. */
  readonly overlapMs: number;
  readonly certificateMs: number;
  readonly renewBeforeMs: number;
  /** How far the clocks of others may be behind. */
  readonly skewMs: number;
}

const hour = 3_600_000;
const day = 24 * hour;

export const authorityTimes: AuthorityTimes = {
  authorityMs: 3_650 * day,
  rotateBeforeMs: 365 * day,
  overlapMs: 30 * day,
  certificateMs: 90 * day,
  renewBeforeMs: 30 * day,
  skewMs: hour,
};

export interface AuthorityOptions {
  /** Holds keys; nobody else can look into it. */
  readonly directory: string;
  /** DNS names and addresses by which the server is dialled. */
  readonly names: readonly string[];
  readonly log: Logger;
  /** Where servers that are dialled by one name have their authorities together; each keeps a copy in its directory. */
  readonly shared?: SharedAuthorities | undefined;
  readonly times?: AuthorityTimes;
  /** Wall clock, in milliseconds since 1970. */
  readonly now?: () => number;
}

/** Authorities by number, from 1 on. */
export interface SharedAuthorities {
  find(number: number): Promise<Identity | undefined>;
  /** Keeps it unless there is one already; answers which one there is now. */
  keep(number: number, identity: Identity): Promise<Identity>;
}

/** An authority of the server's own, and the certificate that it has signed. */
export interface Authority {
  readonly certFile: string;
  readonly keyFile: string;
  /** What clients and agents have to trust. */
  readonly caFile: string;
  /** The text of `caFile`. */
  readonly bundle: string;
  /** Renews what is due. `oldestAgentAt`: when the agent was started that has been there for longest; undefined when there is none. */
  renew(oldestAgentAt: number | undefined): Promise<void>;
}

/** Opens the authority in a directory, or makes one. Errors: `invalid_argument` when what is there cannot be used. */
export async function openAuthority(options: AuthorityOptions): Promise<Authority> {
  const { directory, log } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700).catch((error: unknown) => {
    // Some volumes know one owner and one mode for everything.
    log.warn({ directory, err: error }, "others may be able to look into the folder of the keys");
  });
  if (options.shared !== undefined) await takeOver(directory, options.shared);
  const opened = new FileAuthority(options, await readKey(directory));
  for (const file of await readdir(directory)) {
    const number = Number(/^authority-(\d{1,9})\.crt$/.exec(file)?.[1]);
    if (number > 0) opened.add(await readSigner(directory, number));
  }
  await opened.begin();
  return opened;
}

/** What the others have stands in this directory as well, in the place of what was there by its number. */
async function takeOver(directory: string, shared: SharedAuthorities): Promise<void> {
  for (let number = 1; ; number++) {
    const identity = await shared.find(number);
    if (identity === undefined) return;
    await writeSigner(directory, number, identity);
  }
}

/** `hodei.jobs.svc.cluster.local` is dialled as `hodei.jobs.svc`, `hodei.jobs` and `hodei` too, from where those resolve. */
export function serviceNames(host: string): readonly string[] {
  const [, service, namespace] = /^([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\..+)?$/.exec(host) ?? [];
  if (service === undefined || namespace === undefined) return [host];
  return [...new Set([host, `${service}.${namespace}.svc`, `${service}.${namespace}`, service])];
}

interface Signer extends Identity {
  readonly number: number;
  readonly parsed: X509Certificate;
}

class FileAuthority implements Authority {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
  bundle = "";
  readonly #options: AuthorityOptions;
  readonly #times: AuthorityTimes;
  readonly #now: () => number;
  readonly #key: string;
  /** By number; the newest is the last. */
  #signers: Signer[] = [];
  /** The one that signs. */
  #signer: Signer | undefined;

  constructor(options: AuthorityOptions, key: string) {
    const { directory, times = authorityTimes, now = Date.now } = options;
    this.#options = options;
    this.#times = times;
    this.#now = now;
    this.#key = key;
    this.certFile = join(directory, "server.crt");
    this.keyFile = join(directory, "server.key");
    this.caFile = join(directory, "ca.crt");
  }

  add(signer: Signer): void {
    this.#signers.push(signer);
    this.#signers.sort((one, other) => one.number - other.number);
  }

  async begin(): Promise<void> {
    // What this server had before it shared a store.
    for (const signer of this.#signers) await this.#options.shared?.keep(signer.number, signer);
    this.#signers = this.#signers.filter(({ parsed }) => endOf(parsed) > this.#now());
    const [oldest = await this.#addSigner()] = this.#signers;
    const current = await this.#readCertificate();
    const isOf = ({ parsed }: Signer): boolean => current?.verify(parsed.publicKey) === true;
    this.#signer = this.#signers.find(isOf) ?? oldest;
    if (current === undefined || this.#isDue(current)) await this.#issue(this.#signer);
    await this.#dropOlder(this.#signer);
    await this.#publish();
  }

  async renew(oldestAgentAt: number | undefined): Promise<void> {
    const { log } = this.#options;
    let signer = this.#signer ?? (await this.#addSigner());
    const newest = this.#signers.at(-1) ?? signer;
    if (newest !== signer && this.#isOver(signer, newest, oldestAgentAt)) {
      await this.#issue(newest);
      this.#signer = signer = newest;
      await this.#dropOlder(newest);
      await this.#publish();
      log.info({ caFile: this.caFile }, "the newer authority signs from now on");
    } else if (newest === signer && this.#leftOf(signer.parsed) < this.#times.rotateBeforeMs) {
      await this.#addSigner();
      await this.#publish();
      log.warn({ caFile: this.caFile }, "a newer authority was made; hand its file out again");
    }
    const current = await this.#readCertificate();
    if (current !== undefined && !this.#isDue(current)) return;
    await this.#issue(signer);
    log.info({ certFile: this.certFile }, "server certificate renewed");
  }

  /** Whether everybody knows the newer one, or the older one is of no use any more. */
  #isOver(signer: Signer, newest: Signer, oldestAgentAt: number | undefined): boolean {
    const { skewMs, overlapMs, renewBeforeMs } = this.#times;
    if (this.#leftOf(signer.parsed) < renewBeforeMs) return true;
    // Certificates know whole seconds only.
    const madeAt = startOf(newest.parsed) + skewMs + 1_000;
    const isKnown = oldestAgentAt === undefined || oldestAgentAt > madeAt;
    return isKnown && this.#now() - madeAt >= overlapMs;
  }

  #isDue(certificate: X509Certificate): boolean {
    return (
      this.#leftOf(certificate) < this.#times.renewBeforeMs ||
      startOf(certificate) > this.#now() ||
      !certificate.checkPrivateKey(createPrivateKey(this.#key)) ||
      this.#signer === undefined ||
      !certificate.verify(this.#signer.parsed.publicKey) ||
      !this.#options.names.every((name) => isFor(certificate, name))
    );
  }

  async #addSigner(): Promise<Signer> {
    const { directory } = this.#options;
    const number = (this.#signers.at(-1)?.number ?? 0) + 1;
    const name = `Hodei Jobs authority ${number} ${randomBytes(4).toString("hex")}`;
    const issued = await issueAuthority(name, {
      notBefore: this.#now() - this.#times.skewMs,
      notAfter: this.#now() + this.#times.authorityMs,
    });
    const identity = (await this.#options.shared?.keep(number, issued)) ?? issued;
    await writeSigner(directory, number, identity);
    const signer = { ...identity, number, parsed: new X509Certificate(identity.certificate) };
    this.add(signer);
    return signer;
  }

  async #issue(signer: Signer): Promise<void> {
    const now = this.#now();
    const notAfter = Math.min(now + this.#times.certificateMs, endOf(signer.parsed));
    const validity = { notBefore: now - this.#times.skewMs, notAfter };
    const { names } = this.#options;
    await write(this.certFile, await issueServer(signer, this.#key, { names, validity }));
  }

  async #dropOlder({ number }: Signer): Promise<void> {
    this.#signers = this.#signers.filter((one) => one.number >= number);
    const { directory } = this.#options;
    for (const file of await readdir(directory)) {
      const other = Number(/^authority-(\d{1,9})\.(?:crt|key)$/.exec(file)?.[1]);
      if (other < number) await rm(join(directory, file), { force: true });
    }
  }

  async #publish(): Promise<void> {
    this.bundle = this.#signers.map(({ certificate }) => certificate).join("");
    await write(this.caFile, this.bundle);
  }

  async #readCertificate(): Promise<X509Certificate | undefined> {
    try {
      return new X509Certificate(await readFile(this.certFile));
    } catch {
      // Whatever is wrong with it, another one is made in its place.
      return undefined;
    }
  }

  #leftOf(certificate: X509Certificate): number {
    return endOf(certificate) - this.#now();
  }
}

async function readSigner(directory: string, number: number): Promise<Signer> {
  const file = join(directory, `authority-${number}`);
  try {
    const certificate = await readFile(`${file}.crt`, "utf8");
    const key = await readFile(`${file}.key`, "utf8");
    const parsed = new X509Certificate(certificate);
    if (parsed.checkPrivateKey(createPrivateKey(key))) return { certificate, key, number, parsed };
    throw new Error("the key is another one's");
  } catch (cause) {
    throw new HodeiError("invalid_argument", `HODEI_TLS_AUTO: ${file}.crt and .key are not whole`, {
      cause,
      hint: "remove them to get a new authority; whoever trusts the old one has to be told",
    });
  }
}

async function writeSigner(
  directory: string,
  number: number,
  { key, certificate }: Identity,
): Promise<void> {
  // The key first: a certificate without one would be found, and be of no use.
  await write(join(directory, `authority-${number}.key`), key);
  await write(join(directory, `authority-${number}.crt`), certificate);
}

async function readKey(directory: string): Promise<string> {
  const file = join(directory, "server.key");
  try {
    const key = await readFile(file, "utf8");
    createPrivateKey(key);
    return key;
  } catch {
    const key = await createKey();
    await write(file, key);
    return key;
  }
}

/** In one step: whoever reads it sees the old text or the new one. */
async function write(file: string, text: string): Promise<void> {
  const fresh = `${file}.new`;
  await rm(fresh, { force: true });
  await using handle = await open(fresh, "wx", 0o600);
  await handle.writeFile(text);
  await handle.sync();
  await rename(fresh, file);
}

function isFor(certificate: X509Certificate, name: string): boolean {
  if (isIP(name) !== 0) return certificate.checkIP(name) !== undefined;
  return certificate.checkHost(name, { subject: "never" }) !== undefined;
}

function startOf(certificate: X509Certificate): number {
  return certificate.validFromDate.getTime();
}

function endOf(certificate: X509Certificate): number {
  return certificate.validToDate.getTime();
}
