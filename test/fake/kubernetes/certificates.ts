import "reflect-metadata";
import { randomBytes, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A certificate authority of one test's cluster. */
export class Authority {
  readonly certificate: string;
  private readonly root: x509.X509Certificate;
  private readonly keys: webcrypto.CryptoKeyPair;

  private constructor(root: x509.X509Certificate, keys: webcrypto.CryptoKeyPair) {
    this.root = root;
    this.keys = keys;
    this.certificate = root.toString("pem");
  }

  static async create(): Promise<Authority> {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const root = await x509.X509CertificateGenerator.createSelfSigned(
      {
        serialNumber: serialNumber(),
        name: "CN=kubernetes",
        ...lifetime(),
        signingAlgorithm: algorithm,
        keys,
        extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
      },
      webcrypto,
    );
    return new Authority(root, keys);
  }

  async issueServer(): Promise<Certificate> {
    return this.issue("CN=kube-apiserver", [
      new x509.SubjectAlternativeNameExtension([
        { type: "dns", value: "localhost" },
        { type: "dns", value: "kubernetes.default.svc" },
        { type: "ip", value: "127.0.0.1" },
      ]),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    ]);
  }

  /** The name is the user, the organizations are the groups. */
  async issueClient(name: string, groups: readonly string[]): Promise<Certificate> {
    const subject = [...groups.map((group) => `O=${group}`), `CN=${name}`].join(", ");
    return this.issue(subject, [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
    ]);
  }

  private async issue(
    subject: string,
    extensions: readonly x509.Extension[],
  ): Promise<Certificate> {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const certificate = await x509.X509CertificateGenerator.create(
      {
        serialNumber: serialNumber(),
        subject,
        issuer: this.root.subject,
        ...lifetime(),
        signingAlgorithm: algorithm,
        publicKey: keys.publicKey,
        signingKey: this.keys.privateKey,
        extensions: [...extensions],
      },
      webcrypto,
    );
    const key = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
    return {
      certificate: certificate.toString("pem"),
      key: x509.PemConverter.encode(key, "PRIVATE KEY"),
    };
  }
}

function serialNumber(): string {
  return `01${randomBytes(8).toString("hex")}`;
}

function lifetime(): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - 3_600_000), notAfter: new Date(now + 86_400_000) };
}
