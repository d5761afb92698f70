import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HodeiClient } from "#client/client.ts";
import { parseConfig } from "#config.ts";
import { type Server, startServer } from "#server.ts";
import { createLogger } from "#telemetry.ts";

export interface Measured extends AsyncDisposable {
  readonly server: Server;
  readonly client: HodeiClient;
  /** Everything that its metrics say now. */
  readonly scrape: () => Promise<Scrape>;
}

export interface Scrape {
  /** The names of its metrics, also of those without a value yet. */
  readonly names: ReadonlySet<string>;
  /** By name and labels, `name{label="value"}`. */
  readonly values: ReadonlyMap<string, number>;
}

/** A server with process workers, whose metrics can be read. */
export async function startMeasured(env: Readonly<Record<string, string>> = {}): Promise<Measured> {
  const directory = mkdtempSync(join(tmpdir(), "hodei-metrics-"));
  const { config } = parseConfig({
    HODEI_LISTEN_ADDRESS: "127.0.0.1:0",
    HODEI_HTTP_ADDRESS: "127.0.0.1:0",
    HODEI_DATA_DIRECTORY: join(directory, "data"),
    HODEI_DRAIN_TIMEOUT_MS: "500",
    ...env,
  });
  const { PATH = "" } = process.env;
  const server = await startServer(config, createLogger("silent"), { env: { PATH } });
  const client = new HodeiClient({ address: server.address });
  return {
    server,
    client,
    async scrape() {
      const response = await fetch(`http://${server.httpAddress}/metrics`);
      return parseScrape(await response.text());
    },
    async [Symbol.asyncDispose]() {
      client.close();
      await server[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

export function parseScrape(text: string): Scrape {
  const names = new Set<string>();
  const values = new Map<string, number>();
  for (const line of text.split("\n")) {
    const type = /^# TYPE (\S+) (\S+)$/.exec(line);
    if (type !== null) {
      const [, name = "", kind] = type;
      const more = { histogram: ["_bucket", "_sum", "_count"], summary: ["", "_sum", "_count"] };
      const ends = kind === "histogram" || kind === "summary" ? more[kind] : [""];
      for (const end of ends) names.add(`${name}${end}`);
      continue;
    }
    const value = /^([^#\s]\S*(?:\{.*\})?) (\S+)$/.exec(line);
    if (value !== null) values.set(value[1] ?? "", Number(value[2]));
  }
  return { names, values };
}
