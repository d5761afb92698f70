/** Finds jumps of the wall clock, so that what was to happen by a stored time gets the time that it was promised (DESIGN G10). */
export interface ClockGuard {
  /** Compares the clocks; called every round. */
  check(): void;
  /** How far the wall clock has jumped ahead since `since`, a wall time. */
  jumpedSince(since: number): number;
}

const noticeMs = 2_000;
const remembered = 64;

export function createClockGuard(clocks: {
  readonly now: () => number;
  readonly monotonic: () => number;
}): ClockGuard {
  const jumps: { readonly at: number; readonly ms: number }[] = [];
  let wall = clocks.now();
  let steady = clocks.monotonic();
  return {
    check() {
      const [nextWall, nextSteady] = [clocks.now(), clocks.monotonic()];
      const ms = nextWall - wall - (nextSteady - steady);
      if (ms > noticeMs) jumps.push({ at: nextWall, ms });
      if (jumps.length > remembered) jumps.shift();
      wall = nextWall;
      steady = nextSteady;
    },
    jumpedSince: (since) => jumps.reduce((sum, jump) => (jump.at > since ? sum + jump.ms : sum), 0),
  };
}
