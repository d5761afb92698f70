import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { createPrivateKey, createPublicKey, randomBytes, type webcrypto } from "node:crypto";
import { isIP } from "node:net";

const keyKind = { name: "ECDSA", namedCurve: "P-256" } as const;
const signature = { name: "ECDSA", hash: "SHA-256" } as const;

/** A certificate with its key, as PEM. */
export interface Identity {
  readonly certificate: string;
  readonly key: string;
}

export interface Validity {
  readonly notBefore: number;
  readonly notAfter: number;
}

/** A new key of the kind that everything here has, as PEM. */
export async function createKey(): Promise<string> {
  const pair = await crypto.subtle.generateKey(keyKind, true, ["sign", "verify"]);
  return x509.PemConverter.encode(
    await crypto.subtle.exportKey("pkcs8", pair.privateKey),
    "PRIVATE KEY",
  );
}

/** An authority that signs itself, and may sign servers only. */
export async function issueAuthority(name: string, validity: Validity): Promise<Identity> {
  const key = await createKey();
  const publicKey = publicKeyOf(key);
  const subject = nameOf(name);
  const certificate = await x509.X509CertificateGenerator.create({
    ...common(validity),
    subject,
    issuer: subject,
    publicKey,
    signingKey: privateKeyOf(key),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
    ],
  });
  return { certificate: pemOf(certificate), key };
}

/** A server's certificate for `key`, good for these DNS names and addresses. */
export async function issueServer(
  authority: Identity,
  key: string,
  { names, validity }: { readonly names: readonly string[]; readonly validity: Validity },
): Promise<string> {
  const publicKey = publicKeyOf(key);
  const issuer = new x509.X509Certificate(authority.certificate);
  const certificate = await x509.X509CertificateGenerator.create({
    ...common(validity),
    subject: nameOf("Hodei Jobs server"),
    issuer: issuer.subjectName,
    publicKey,
    signingKey: privateKeyOf(authority.key),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value })),
      ),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(publicKeyOf(authority.key)),
    ],
  });
  return pemOf(certificate);
}

function common({ notBefore, notAfter }: Validity) {
  // At most 20 bytes, positive, and never the same twice.
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return {
    serialNumber: serial.toString("hex"),
    notBefore: new Date(notBefore),
    notAfter: new Date(notAfter),
    signingAlgorithm: signature,
  };
}

function nameOf(name: string): string {
  return new x509.Name([{ CN: [name] }]).toString();
}

function pemOf(certificate: x509.X509Certificate): string {
  return `${certificate.toString("pem").trim()}\n`;
}

function privateKeyOf(pem: string): webcrypto.CryptoKey {
  return createPrivateKey(pem).toCryptoKey(keyKind, true, ["sign"]);
}

function publicKeyOf(pem: string): webcrypto.CryptoKey {
  return createPublicKey(pem).toCryptoKey(keyKind, true, ["verify"]);
}
