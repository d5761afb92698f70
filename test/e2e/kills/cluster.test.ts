import { openDouble } from "../kubernetes/double.ts";
import { Ground } from "../kubernetes/ground.ts";
import { killSuite } from "./suite.ts";

killSuite("the double of a cluster", async () => {
  const ground = new Ground(await openDouble());
  const namespaces = new Map<unknown, string>();
  return {
    provider: "kubernetes",
    host: "127.0.0.1",
    calls: [/^POST .*\/secrets/, /^POST .*\/pods/, /^DELETE .*\/secrets\//, /^DELETE .*\/pods\//],
    async start(options) {
      const { server, namespace } = await ground.start(options);
      namespaces.set(server, namespace);
      return server;
    },
    leftovers: (server) => ground.leftovers(namespaces.get(server) ?? ""),
    [Symbol.asyncDispose]: () => ground[Symbol.asyncDispose](),
  };
});
