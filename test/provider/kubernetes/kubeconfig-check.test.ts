import { expect, test } from "vitest";
import { checkKubeconfig, serversOf } from "#provider/kubernetes/kubeconfig-check.ts";

const secret = "a-token-that-nobody-may-see-0123456789";

function kubeconfig(change: { user?: object; cluster?: object } = {}): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "it",
    clusters: [{ name: "it", cluster: { server: "https://127.0.0.1:1", ...change.cluster } }],
    users: [{ name: "it", user: { token: secret, ...change.user } }],
    contexts: [{ name: "it", context: { cluster: "it", user: "it" } }],
  });
}

const strict = { allowInsecure: false };

function problemOf(text: string, context = ""): string {
  try {
    checkKubeconfig(text, { ...strict, context });
  } catch (error) {
    return error instanceof Error ? error.message : "";
  }
  return "";
}

test("a kubeconfig with a token is taken, in one plain form", () => {
  const plain = checkKubeconfig(kubeconfig(), strict);
  expect(JSON.parse(plain)).toEqual(JSON.parse(kubeconfig()));
  expect(serversOf(plain)).toBe("https://127.0.0.1:1");
});

test.for([
  ["users[0].user.exec", kubeconfig({ user: { exec: { command: "sh" } } })],
  ["users[0].user.auth-provider", kubeconfig({ user: { "auth-provider": { name: "gcp" } } })],
  ["users[0].user.tokenFile", kubeconfig({ user: { tokenFile: "/etc/shadow" } })],
  ["users[0].user.client-key", kubeconfig({ user: { "client-key": "/etc/shadow" } })],
  [
    "clusters[0].cluster.certificate-authority",
    kubeconfig({ cluster: { "certificate-authority": "/x" } }),
  ],
  ["clusters[0].cluster.server", kubeconfig({ cluster: { server: "http://10.0.0.1" } })],
  ["clusters[0].cluster.server", kubeconfig({ cluster: { server: "https://a:b@10.0.0.1" } })],
  [
    "clusters[0].cluster.insecure-skip-tls-verify",
    kubeconfig({ cluster: { "insecure-skip-tls-verify": true } }),
  ],
  [
    // Another reader would merge what is behind it into the user.
    "users[0].user.<<",
    kubeconfig().replace('"token"', '"<<":{"exec":{"command":"sh"}},"token"'),
  ],
  ["current-context", kubeconfig().replace('"current-context":"it"', '"current-context":"x"')],
] as const)("%s is refused, and its value said nothing of", ([field, text]) => {
  expect(problemOf(text)).toMatch(`kubeconfig: ${field}: `);
  expect(problemOf(text)).not.toContain(secret);
});

test.for(["[", `a: "${secret}`, "[]", "", "&a [*a]", `${secret}: 1`])("%j is none", (text) => {
  expect(problemOf(text)).toMatch(/^kubeconfig: /);
  expect(problemOf(text).replaceAll(/: [^ ]*: /g, "")).not.toContain(`"${secret}`);
});

test("what a server allows is taken", () => {
  const text = kubeconfig({ cluster: { server: "http://10.0.0.1" } });
  expect(checkKubeconfig(text, { allowInsecure: true })).toContain("http://10.0.0.1");
});
