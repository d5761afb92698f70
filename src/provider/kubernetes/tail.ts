import { workerContainer } from "./classify-pod.ts";
import type { Connection } from "./connection.ts";
import { KubeError } from "./kube-error.ts";

export interface TailOf {
  readonly namespace: string;
  readonly name: string;
  readonly container?: string;
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

/** How many lines are asked for; fewer when those were longer than `readBytes`, since the API then leaves out the last ones. */
const lineCounts = [200, 20, 1];
const overshoot = 4;

/** The last lines that a pod's container printed, at most `maxBytes`; undefined when there are none, or none any more. */
export async function readPodTail(
  connection: Connection,
  { namespace, name, container = workerContainer, maxBytes = 16_384, signal }: TailOf,
): Promise<Uint8Array | undefined> {
  const readBytes = maxBytes * overshoot;
  let bytes = Buffer.alloc(0);
  try {
    for (const lines of lineCounts) {
      const text = await connection.text({
        path: `/api/v1/namespaces/${namespace}/pods/${name}/log`,
        query: { container, tailLines: String(lines), limitBytes: String(readBytes) },
        ...(signal === undefined ? {} : { signal }),
      });
      bytes = Buffer.from(text);
      if (bytes.length < readBytes) break;
    }
  } catch (error) {
    if (error instanceof KubeError && isNothingThere(error)) return undefined;
    throw error;
  }
  return bytes.length === 0 ? undefined : lastLines(bytes, maxBytes);
}

/** The pod is gone, its container never started, or its node does not answer. */
function isNothingThere({ status }: KubeError): boolean {
  return status === 404 || status === 400 || (status >= 500 && status < 600);
}

function lastLines(bytes: Buffer, maxBytes: number): Uint8Array {
  if (bytes.length <= maxBytes) return bytes;
  const tail = bytes.subarray(bytes.length - maxBytes);
  const firstEnd = tail.indexOf(0x0a);
  // A line longer than the whole tail keeps its end.
  return firstEnd === -1 || firstEnd === tail.length - 1 ? tail : tail.subarray(firstEnd + 1);
}
