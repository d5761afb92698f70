import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** A secret of 256 random bits, as text (DESIGN G13). */
export function createSecret(): string {
  return randomBytes(32).toString("base64url");
}

/** SHA-256 of the secret: all that is ever stored. A slow hash would add nothing to 256 random bits. */
export function hashSecret(secret: string): Uint8Array {
  return createHash("sha256").update(secret).digest();
}

/** Compares two hashes in constant time. */
export function isSameHash(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
