// Linux bounds and ends a worker as a whole by control groups, and only who was given a group may make groups below it. So those of the server are used
// where it stands at the root of what it sees (a container, or a machine without a manager such as systemd), or where the operator says that they are its own.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

/** `auto`: below the root of what the server sees. `own`: also below its own group, which was given to it. `off`: nowhere. */
export type GroupUse = "auto" | "own" | "off";

/** Most that all processes of a worker may use together; zero: no bound. */
export interface Bounds {
  readonly memoryBytes: number;
  readonly cpuMillis: number;
}

/** One group of a worker: its directory, and what is written into its files before anybody enters it. */
export interface GroupPlan {
  readonly path: string;
  readonly settings: readonly GroupSetting[];
}

export interface GroupSetting {
  readonly file: string;
  readonly value: string;
  /** Not every kernel has it, and nothing depends on it. */
  readonly isOptional: boolean;
}

/** Where the machine shows its groups, and which ones this process is in. */
export interface GroupSystem {
  readonly root: string;
  readonly self: string;
  /** The files of a group. */
  readonly list: (group: string) => readonly string[];
}

type Control = "memory" | "cpu" | "kill";

/** A group below which workers get theirs, and what those are for. */
interface Place {
  readonly path: string;
  readonly version: 1 | 2;
  readonly controls: readonly Control[];
}

/** A group is entered at once after it was made; one that is empty for so long is over. */
const forgottenMs = 60_000;

const linux: GroupSystem = {
  root: "/sys/fs/cgroup",
  self: "/proc/self/cgroup",
  list: (group) => readdirSync(group),
};
const periodUs = 100_000;
/** The kernel takes no less. */
const leastQuotaUs = 1_000;
/** Where the server itself goes, since a group with processes of its own cannot bound those below it. */
const leaf = "hodei-server";

/** What bounds a version has, by the file that says so. */
const files: Readonly<Record<1 | 2, Readonly<Record<Control, string>>>> = {
  1: { memory: "memory.limit_in_bytes", cpu: "cpu.cfs_quota_us", kill: "freezer.state" },
  2: { memory: "memory.max", cpu: "cpu.max", kill: "cgroup.kill" },
};

/** Which groups a worker gets here. */
export class ControlGroups {
  readonly #places: readonly Place[];

  constructor(places: readonly Place[]) {
    this.#places = places;
  }

  has(control: Control): boolean {
    return this.#places.some(({ controls }) => controls.includes(control));
  }

  /** The groups of a worker, by which it is ended as a whole and, where asked, bounded. */
  plan(workerId: string, bounds: Bounds): readonly GroupPlan[] {
    return this.#places.flatMap(({ path, version, controls }) => {
      const settings = controls.flatMap((control) => settingsOf(control, version, bounds));
      const isNeeded = settings.length > 0 || controls.includes("kill");
      return isNeeded ? [{ path: join(path, `hodei-${workerId}`), settings }] : [];
    });
  }
}

/** Tries what the machine lets us do; whatever it does not is left out. */
export function findControlGroups(use: GroupUse, system: GroupSystem = linux): ControlGroups {
  const places: Place[] = [];
  const missing = new Set<Control>(["memory", "cpu", "kill"]);
  const memberships = use === "off" ? [] : membershipsOf(system).filter(isOurs(use));
  for (const { version, mount, path, controllers } of memberships) {
    const own = version === 2 ? delegated(join(mount, path)) : join(mount, path);
    const wanted = [...missing].filter(
      (control) => version === 2 || controllers.includes(control === "kill" ? "freezer" : control),
    );
    const offered = wanted.length === 0 ? [] : probe(own, system);
    const controls = wanted.filter((control) => offered.includes(files[version][control]));
    if (controls.length === 0) continue;
    places.push({ path: own, version, controls });
    for (const control of controls) missing.delete(control);
  }
  return new ControlGroups(places);
}

interface Membership {
  readonly version: 1 | 2;
  readonly mount: string;
  readonly path: string;
  readonly controllers: readonly string[];
}

/** The groups of this process, those of the newer version first. */
function membershipsOf({ root, self }: GroupSystem): readonly Membership[] {
  const lines = (read(self) ?? "").split("\n");
  const all = lines.flatMap((line): Membership[] => {
    const [, list, path = "/"] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (list === undefined) return [];
    if (list === "") {
      const mount = existsSync(join(root, "cgroup.controllers")) ? root : join(root, "unified");
      return [{ version: 2, mount, path, controllers: [] }];
    }
    const controllers = list.split(",");
    const mount = [list, ...controllers].map((name) => join(root, name)).find(existsSync);
    return mount === undefined ? [] : [{ version: 1, mount, path, controllers }];
  });
  return all.toSorted((one, other) => other.version - one.version);
}

function isOurs(use: GroupUse): (membership: Membership) => boolean {
  return ({ path }) => use === "own" || path === "/" || path === `/${leaf}`;
}

/** The group below which others may be bounded. Where the server is alone in its own, it makes room by going into a leaf of it. */
function delegated(own: string): string {
  const path = basename(own) === leaf ? dirname(own) : own;
  const words = (file: string): string[] => (read(join(path, file)) ?? "").trim().split(/\s+/);
  const available = words("cgroup.controllers");
  const enabled = words("cgroup.subtree_control");
  const lacking = ["memory", "cpu"].filter(
    (name) => available.includes(name) && !enabled.includes(name),
  );
  if (lacking.length === 0) return path;
  const enable = (): boolean =>
    write(join(path, "cgroup.subtree_control"), lacking.map((name) => `+${name}`).join(" "));
  if (enable() || words("cgroup.procs").join() !== String(process.pid)) return path;
  if (make(join(path, leaf)) && write(join(path, leaf, "cgroup.procs"), String(process.pid))) {
    enable();
  }
  return path;
}

/** The files of a group below this one; none where it cannot be made. */
function probe(path: string, { list }: GroupSystem): readonly string[] {
  const trial = join(path, `hodei-probe-${process.pid}`);
  if (!make(trial)) return [];
  try {
    return list(trial);
  } finally {
    rmdirSync(trial);
    removeForgotten(path);
  }
}

/** Removes empty groups that nobody knows of any more, since their server's data was deleted. The kernel keeps those that are not empty. */
function removeForgotten(path: string): void {
  for (const name of readdirSync(path)) {
    if (!name.startsWith("hodei-") || name === leaf) continue;
    try {
      const group = join(path, name);
      if (Date.now() - statSync(group).ctimeMs > forgottenMs) rmdirSync(group);
    } catch {
      // Somebody is in it, or somebody else was faster.
    }
  }
}

function settingsOf(
  control: Control,
  version: 1 | 2,
  { memoryBytes, cpuMillis }: Bounds,
): GroupSetting[] {
  const file = files[version][control];
  if (control === "memory" && memoryBytes > 0) {
    const value = String(memoryBytes);
    // Memory that may be moved to disk is no bound.
    const swap =
      version === 1
        ? { file: "memory.memsw.limit_in_bytes", value }
        : { file: "memory.swap.max", value: "0" };
    return [
      { file, value, isOptional: false },
      { ...swap, isOptional: true },
    ];
  }
  if (control === "cpu" && cpuMillis > 0) {
    const quotaUs = Math.max(leastQuotaUs, Math.round((cpuMillis * periodUs) / 1_000));
    if (version === 2) return [{ file, value: `${quotaUs} ${periodUs}`, isOptional: false }];
    return [
      { file: "cpu.cfs_period_us", value: String(periodUs), isOptional: false },
      { file, value: String(quotaUs), isOptional: false },
    ];
  }
  return [];
}

function make(path: string): boolean {
  try {
    // Never with `recursive`, which goes on for ever where the kernel takes no directories.
    mkdirSync(path);
  } catch {
    return existsSync(path);
  }
  return true;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function write(path: string, text: string): boolean {
  try {
    writeFileSync(path, text);
    return true;
  } catch {
    return false;
  }
}
