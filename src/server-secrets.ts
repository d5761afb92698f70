import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "#config.ts";
import { HodeiError } from "#error.ts";

/** Keeps secrets in the store: AES-256-GCM, each bound to the id of what it belongs to. */
export interface SecretBox {
  seal(text: string, id: string): Promise<Uint8Array>;
  /** Error: `failed_precondition` when it was sealed with another key or for another id. */
  open(sealed: Uint8Array, id: string): Promise<string>;
}

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
/** The first byte of what is sealed in this way. */
const format = 1;

/** With the key of the settings, else with one of its own in the data directory. Error: `invalid_argument`, naming the variable. */
export async function openSecretBox(
  config: Pick<Config, "encryptionKey" | "encryptionKeyFile">,
  directory: string,
): Promise<SecretBox> {
  const given = await givenKey(config);
  const file = join(directory, "encryption.key");
  let key = given ?? (await readKey(file, file, { mayBeMissing: true }));
  return {
    async seal(text, id) {
      key ??= await makeKey(file);
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(boundTo(id));
      const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
      return Buffer.concat([Buffer.of(format), nonce, sealed, cipher.getAuthTag()]);
    },
    async open(sealed, id) {
      if (key === undefined) {
        const hint = `put the key back into ${file}, or give the credentials again`;
        const message = "there is no key for the stored credentials";
        throw new HodeiError("failed_precondition", message, { hint });
      }
      try {
        return decrypt(Buffer.from(sealed), key, id);
      } catch (cause) {
        const hint = "start with the key that they were stored with, or give them again";
        const message = "the stored credentials cannot be read with this key";
        throw new HodeiError("failed_precondition", message, { cause, hint });
      }
    },
  };
}

function decrypt(sealed: Buffer, key: Buffer, id: string): string {
  if (sealed[0] !== format) throw new Error("sealed in an unknown way");
  const nonce = sealed.subarray(1, 1 + nonceBytes);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes })
    .setAAD(boundTo(id))
    .setAuthTag(sealed.subarray(-tagBytes));
  const text = decipher.update(sealed.subarray(1 + nonceBytes, -tagBytes));
  return Buffer.concat([text, decipher.final()]).toString("utf8");
}

function boundTo(id: string): Buffer {
  return Buffer.from(`hodei/provider/${id}`);
}

async function givenKey(
  config: Pick<Config, "encryptionKey" | "encryptionKeyFile">,
): Promise<Buffer | undefined> {
  const { encryptionKey, encryptionKeyFile } = config;
  if (encryptionKey !== "" && encryptionKeyFile !== "") {
    const text = "HODEI_ENCRYPTION_KEY_FILE: cannot be given together with the key itself";
    throw new HodeiError("invalid_argument", text);
  }
  if (encryptionKey !== "") return keyOf("HODEI_ENCRYPTION_KEY", encryptionKey);
  if (encryptionKeyFile === "") return undefined;
  return readKey("HODEI_ENCRYPTION_KEY_FILE", encryptionKeyFile, { mayBeMissing: false });
}

async function readKey(
  what: string,
  file: string,
  { mayBeMissing }: { readonly mayBeMissing: boolean },
): Promise<Buffer | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    if (mayBeMissing && (cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new HodeiError("invalid_argument", `${what}: cannot read ${file}`, { cause });
  }
  return keyOf(what, text.trim());
}

function keyOf(what: string, text: string): Buffer {
  const key = Buffer.from(text, "base64");
  if (/^[\w+/-]+=*$/.test(text) && key.length === keyBytes) return key;
  throw new HodeiError("invalid_argument", `${what}: has to be ${keyBytes} bytes in base 64`);
}

/** On the disk before anything is sealed with it. */
async function makeKey(file: string): Promise<Buffer> {
  const key = randomBytes(keyBytes);
  await using made = await open(file, "wx", 0o600);
  await made.writeFile(`${key.toString("base64")}\n`);
  await made.sync();
  return key;
}
