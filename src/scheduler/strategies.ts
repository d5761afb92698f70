import { strategies, type Strategy } from "./strategy.ts";

/** The strategies of a server by their names, and who uses which. */
export interface Strategies {
  readonly names: readonly string[];
  /** What the job asked for, else its tenant's, else the server's. An unknown name, of a job submitted before a restart, counts as none. */
  choose(wish: string, tenant: string | undefined): Strategy;
}

export interface StrategiesOptions {
  /** The server's; one of the names. */
  readonly standard?: string;
  readonly byTenant?: Readonly<Record<string, string>>;
  /** More than those that come along. */
  readonly own?: Readonly<Record<string, Strategy>>;
}

/** Error: a standard or a tenant's strategy that nobody knows. */
export function createStrategies(options: StrategiesOptions = {}): Strategies {
  const known = new Map<string, Strategy>([
    ...Object.entries(strategies),
    ...Object.entries(options.own ?? {}),
  ]);
  const find = (name: string): Strategy => {
    const found = known.get(name);
    if (found === undefined) throw new Error(`there is no strategy ${name}`);
    return found;
  };
  const standard = find(options.standard ?? "first_available");
  const tenants = new Map(
    Object.entries(options.byTenant ?? {}).map(([tenant, name]) => [tenant, find(name)]),
  );
  return {
    names: [...known.keys()].toSorted(),
    choose(wish, tenant) {
      const own = tenant === undefined ? undefined : tenants.get(tenant);
      return known.get(wish) ?? own ?? standard;
    },
  };
}
