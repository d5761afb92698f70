import { HodeiError } from "#error.ts";

/** Bounds how many wait at the same time. */
export interface Gate {
  /** Error: `resource_exhausted` when all places are taken. */
  enter(): Disposable;
}

export function createGate(most: number, what: string): Gate {
  let inside = 0;
  return {
    enter() {
      if (inside >= most) {
        throw new HodeiError(
          "resource_exhausted",
          `${most} ${what} at the same time are the limit`,
        );
      }
      inside++;
      return { [Symbol.dispose]: () => void inside-- };
    },
  };
}
