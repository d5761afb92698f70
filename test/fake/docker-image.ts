import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { bundleAgent } from "../../scripts/agent-bundle.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");
export const baseImage = process.env["BASE_IMAGE"] ?? "localhost/debian:bookworm-slim";

/** An image with Node and the script that stands in for the agent. Built once for each content. */
export async function testAgentImage(): Promise<string> {
  const script = join(root, "test/provider/docker/test-agent.ts");
  const digest = createHash("sha256")
    .update(await readFile(script))
    .update(process.version)
    .digest("hex")
    .slice(0, 12);
  const image = `hodei-test-agent:${digest}`;
  if (await exists(image)) return image;
  const context = await mkdtemp(join(tmpdir(), "hodei-image-"));
  try {
    await copyFile(process.execPath, join(context, "node"));
    await copyFile(script, join(context, "agent.ts"));
    const lines = [
      `FROM ${baseImage}`,
      "COPY node /usr/local/bin/node",
      "COPY agent.ts /agent.ts",
      'ENTRYPOINT ["/usr/local/bin/node", "/agent.ts"]',
    ];
    await writeFile(join(context, "Dockerfile"), `${lines.join("\n")}\n`);
    await build(image, context);
  } finally {
    await rm(context, { recursive: true });
  }
  return image;
}

/**
 * The image that a user builds, from Dockerfile.worker. Where there already is one only its agent is made anew, since the rest takes minutes and does not change from
 * test to test.
 */
export async function workerImage(): Promise<string> {
  const image = "hodei-jobs-worker:test";
  const whole = "hodei-jobs-worker:latest";
  if (!(await exists(whole))) {
    const environment = { ...process.env, BASE_IMAGE: baseImage, DOCKER_BUILDKIT: "0" };
    const options = { cwd: root, env: environment, maxBuffer: 64 * 1024 * 1024 };
    await run(join(root, "scripts/images.sh"), ["worker"], options);
  }
  const context = await mkdtemp(join(tmpdir(), "hodei-image-"));
  try {
    await bundleAgent(join(context, "agent.js"));
    await copyFile(join(root, "scripts/hodei-jobs-worker.sh"), join(context, "worker"));
    const lines = [
      `FROM ${whole}`,
      "COPY agent.js /usr/local/lib/hodei/agent.js",
      "COPY worker /usr/local/bin/hodei-jobs-worker",
    ];
    await writeFile(join(context, "Dockerfile"), `${lines.join("\n")}\n`);
    await build(image, context);
  } finally {
    await rm(context, { recursive: true });
  }
  return image;
}

async function exists(image: string): Promise<boolean> {
  return run("docker", ["image", "inspect", image]).then(
    () => true,
    () => false,
  );
}

async function build(image: string, context: string): Promise<void> {
  const options = { env: { ...process.env, DOCKER_BUILDKIT: "0" }, maxBuffer: 64 * 1024 * 1024 };
  await run("docker", ["build", "-q", "-t", image, context], options);
}
