import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";

/** Who a client says it is: by token, or by certificate and key. */
export interface Identity {
  readonly name: string;
  readonly token?: string;
  readonly certificate?: string;
  readonly key?: string;
}

export interface Cluster {
  readonly url: string;
  /** Undefined over plain HTTP. */
  readonly ca: string | undefined;
}

export interface KubeconfigOptions {
  readonly namespace?: string;
  /** `double` unless given. */
  readonly context?: string;
}

export function kubeconfigText(
  cluster: Cluster,
  identity: Identity,
  { namespace, context = "double" }: KubeconfigOptions = {},
): string {
  const { name, token, certificate, key } = identity;
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const user = {
    ...(token === undefined ? {} : { token }),
    ...(certificate === undefined ? {} : { "client-certificate-data": base64(certificate) }),
    ...(key === undefined ? {} : { "client-key-data": base64(key) }),
  };
  const authority =
    cluster.ca === undefined ? {} : { "certificate-authority-data": base64(cluster.ca) };
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "double", cluster: { server: cluster.url, ...authority } }],
    users: [{ name, user }],
    contexts: [
      {
        name: context,
        context: {
          cluster: "double",
          user: name,
          ...(namespace === undefined ? {} : { namespace }),
        },
      },
    ],
    "current-context": context,
  });
}

/** The folder that a pod finds its account's token in. */
export async function writeAccountFolder(
  folder: string,
  content: { token: string; namespace: string; ca: string | undefined },
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "token"), content.token);
  await writeFile(join(folder, "namespace"), content.namespace);
  if (content.ca !== undefined) await writeFile(join(folder, "ca.crt"), content.ca);
}
