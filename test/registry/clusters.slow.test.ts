import { expect, onTestFinished, test } from "vitest";
import { startCluster } from "../fake/kubernetes/cluster.ts";
import { kubeconfigText } from "../fake/kubernetes/kubeconfig.ts";
import { folderForTest, noWorkers, start } from "./ground.ts";

async function clusterForTest(name: string) {
  const cluster = await startCluster();
  onTestFinished(() => cluster[Symbol.asyncDispose]());
  const { api } = cluster;
  const user = api.user(name, ["system:masters"]);
  return { cluster, kubeconfig: kubeconfigText(api, user) };
}

test("two clusters side by side run what is meant for them, and keep their credentials apart", async () => {
  const [east, west] = await Promise.all([clusterForTest("east"), clusterForTest("west")]);
  const { client } = await start(folderForTest(), { HODEI_PROCESS_ENABLED: "0" });
  for (const [name, { kubeconfig }] of Object.entries({ east, west })) {
    const made = await client.providers.register({
      name,
      type: "kubernetes",
      config: { namespace: `builds-${name}` },
      credentials: { kubeconfig },
    });
    expect(made).toMatchObject({ health: "healthy", hasCredentials: true });
  }
  for (const name of ["east", "west"]) {
    const { id } = await client.submit({ command: ["true"], provider: { name, isStrict: true } });
    const job = await client.wait(id);
    expect(job.failure).toBeUndefined();
    expect(job.attempts.at(-1)?.provider).toBe(name);
  }
  const namespaces = (where: typeof east) =>
    where.cluster.objects.list("namespaces").map(({ metadata }) => metadata?.name);
  expect(namespaces(east)).toContain("builds-east");
  expect(namespaces(east)).not.toContain("builds-west");

  const command = ["sleep", "600"];
  const running = await client.submit({ command, provider: { name: "east", isStrict: true } });
  for await (const { state } of client.watch(running.id)) if (state === "running") break;
  const other = client.providers.update("east", { credentials: { kubeconfig: west.kubeconfig } });
  await expect(other).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringContaining("another cluster"),
  });
  const moved = client.providers.update("east", { config: { namespace: "elsewhere" } });
  await expect(moved).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
  const renewed = kubeconfigText(
    east.cluster.api,
    east.cluster.api.user("new", ["system:masters"]),
  );
  await client.providers.update("east", { credentials: { kubeconfig: renewed } });
  await client.cancel(running.id);
  expect((await client.wait(running.id)).state).toBe("cancelled");
  await noWorkers(client);

  await client.providers.update("east", { config: { namespace: "elsewhere" } });
  const last = await client.submit({
    command: ["true"],
    provider: { name: "east", isStrict: true },
  });
  expect((await client.wait(last.id)).state).toBe("succeeded");
  expect(namespaces(east)).toContain("elsewhere");
  await noWorkers(client);
  for (const name of ["east", "west"]) await client.providers.remove(name);
  expect(await client.providers.list()).toEqual([]);
});
