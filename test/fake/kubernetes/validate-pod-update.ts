import { isDeepStrictEqual } from "node:util";

import type { KubeObject, Pod } from "./objects.ts";
import { cause, type Cause } from "./status.ts";
import { podProblems } from "./validate-pod.ts";

/** Only images, a shorter deadline and more tolerations may come to a pod that exists. */
export function podUpdateProblems(object: KubeObject, before: KubeObject): Cause[] {
  const [now, then] = [object as Pod, before as Pod];
  const problems = podProblems(object);
  const [deadline, old] = [now.spec?.activeDeadlineSeconds, then.spec?.activeDeadlineSeconds];
  if (old !== undefined && (deadline === undefined || deadline > old)) {
    problems.push(
      deadline === undefined
        ? cause.invalid(
            "spec.activeDeadlineSeconds",
            0,
            "must not update from a positive integer to nil value",
          )
        : cause.invalid(
            "spec.activeDeadlineSeconds",
            deadline,
            `must be less than or equal to previous value`,
          ),
    );
  }
  const kept = then.spec?.tolerations ?? [];
  const tolerations = now.spec?.tolerations ?? [];
  const hasAll = kept.every((one) => tolerations.some((other) => isDeepStrictEqual(one, other)));
  if (!hasAll)
    problems.push(
      cause.forbidden(
        "spec.tolerations",
        "existing toleration can not be modified except its tolerationSeconds",
      ),
    );
  if (!isDeepStrictEqual(fixedPart(now), fixedPart(then))) {
    problems.push(
      cause.forbidden(
        "spec",
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n",
      ),
    );
  }
  return problems;
}

function fixedPart(pod: Pod): object {
  const {
    activeDeadlineSeconds: _deadline,
    tolerations: _tolerations,
    ...spec
  } = pod.spec ?? { containers: [] };
  const plain = (one: { image?: string }): object => ({ ...one, image: "" });
  return JSON.parse(
    JSON.stringify({
      ...spec,
      containers: spec.containers.map(plain),
      initContainers: spec.initContainers?.map(plain),
    }),
  ) as object;
}
