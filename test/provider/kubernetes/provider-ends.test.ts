import { describe, expect, it } from "vitest";
import { managedLabels } from "#provider/kubernetes/names.ts";
import { buildPod } from "#provider/kubernetes/pod.ts";
import { buildSecret } from "#provider/kubernetes/secret.ts";
import { configWith, place } from "./pod-specs.ts";
import { at, names, never, newSpec, open } from "./provider-open.ts";

describe("the end of a worker", () => {
  it("that failed leaves its pod for a look, unlisted, until its time is over", async () => {
    const { cluster, provider } = await open({ ttlSecondsAfterFinished: 3_600 });
    const spec = newSpec();
    const { uid } = await provider.startWorker(spec, never);
    cluster.end(spec.workerId, 1);
    await expect.poll(() => names(cluster.secrets)).toEqual([]);
    expect(await provider.confirmDead(spec.workerId, uid)).toBe("dead");
    expect(await provider.listWorkers()).toEqual([]);
    await provider.stopWorker(spec.workerId, 0);
    expect(names(cluster.pods)).toEqual([at(spec.workerId)]);
  });

  it("leaves nothing of what an earlier server had forgotten", async () => {
    const { cluster, provider: old } = await open();
    await old[Symbol.asyncDispose]();
    const config = configWith({ ttlSecondsAfterFinished: 60 });
    const finishedAt = new Date(Date.now() - 120_000);
    const over = newSpec();
    const pod = buildPod(config, over, place);
    const state = { terminated: { exitCode: 1, finishedAt } };
    const status = { name: "worker", state, ready: false, restartCount: 0, image: "", imageID: "" };
    const kept = newSpec();
    const held = buildPod(config, kept, place);
    const until = new Date(Date.now() + 600_000).toISOString();
    Object.assign(held.metadata?.annotations ?? {}, { "hodei.io/hold-until": until });
    pod.status = { phase: "Succeeded", containerStatuses: [] };
    cluster.put(pod);
    held.status = { phase: "Failed", containerStatuses: [status] };
    cluster.put(held);
    cluster.putSecret(buildSecret(config, newSpec(), place));
    const strange = managedLabels(
      { app: "a", instanceId: "other", provider: "p" },
      { id: kept.workerId, tenant: undefined },
    );
    cluster.putSecret({ metadata: { name: "s", namespace: place.namespace, labels: strange } });
    await using _provider = await cluster.open(
      { ttlSecondsAfterFinished: 60 },
      { reapIntervalMs: 20 },
    );
    await expect.poll(() => names(cluster.pods)).toEqual([at(kept.workerId)]);
    await expect.poll(() => names(cluster.secrets)).toEqual([`${place.namespace}/s`]);
  });
});
