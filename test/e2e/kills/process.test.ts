import { ServerProcess } from "../../e2e/server-process.ts";
import { killSuite } from "./suite.ts";

killSuite("processes", async () => ({
  provider: "process",
  host: "127.0.0.1",
  calls: [/"op":"start"/, /"op":"stop"/],
  start: ({ env, nodeArguments }) => ServerProcess.start(env, nodeArguments),
  leftovers: async (server) => server.workerProcesses(),
  [Symbol.asyncDispose]: () => Promise.resolve(),
}));
