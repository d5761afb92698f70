import { describe, expect, it, test } from "vitest";
import { endFailure, type SeenEnd } from "#provider/docker/classify-end.ts";
import { imageFailure, imageTroubleOf, startFailure } from "#provider/docker/classify.ts";
import { progressOf, registryOf } from "#provider/docker/image.ts";

const answer = (statusCode: number, message: string): Error =>
  Object.assign(new Error(message), { statusCode, json: { message } });

describe("an image that cannot be had", () => {
  test.for([
    [404, "No such image: some/image:1", "ImageNotFound", false, "user"],
    [404, "manifest for some/image:1 not found: manifest unknown", "ImageNotFound", false, "user"],
    [
      404,
      "pull access denied for some/image, repository does not exist or may require 'docker login': denied",
      "ImageDenied",
      false,
      "user",
    ],
    [500, "unauthorized: authentication required", "ImageDenied", false, "user"],
    [400, "invalid reference format", "InvalidImageName", false, "user"],
    [404, "no matching manifest for linux/amd64", "ImageWrongPlatform", false, "user"],
    [500, "toomanyrequests: too many requests", "RegistryUnavailable", true, "provider"],
    [
      500,
      'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
      "RegistryUnavailable",
      true,
      "provider",
    ],
    [
      500,
      "received unexpected HTTP status: 503 Service Unavailable",
      "RegistryUnavailable",
      true,
      "provider",
    ],
    [0, "write /var/lib/docker/tmp/x: no space left on device", "NoSpace", true, "node"],
    [500, "something new", "RegistryUnavailable", true, "provider"],
  ] as const)("%s %s", ([status, message, reason, canPass, blame]) => {
    const trouble = imageTroubleOf(answer(status, message), "some/image:1");
    expect(trouble).toMatchObject({ reason, canPass });
    const choice = { image: "some/image:1", isOfJob: true };
    expect(imageFailure(choice, trouble)).toMatchObject({ stage: "pulling", blame });
    const own = imageFailure({ ...choice, isOfJob: false }, trouble);
    expect(own.blame).toBe(blame === "user" ? "provider" : blame);
  });
});

test("an image is not judged by its name", () => {
  const image = "team/tls-timeout-lookup:1.503";
  const error = answer(404, `manifest for ${image} not found: manifest unknown: manifest unknown`);
  expect(imageTroubleOf(error, image)).toMatchObject({ reason: "ImageNotFound", canPass: false });
});

describe("a start that the engine refused", () => {
  test.for([
    [
      400,
      'OCI runtime create failed: exec: "/usr/local/bin/hodei-jobs-worker": stat: no such file or directory',
      "CannotRun",
      "user",
    ],
    [404, "network hodei-jobs-workers not found", "Network", "provider"],
    [500, 'could not select device driver "" with capabilities: [[gpu]]', "NoGpu", "provider"],
    [500, "mkdir: no space left on device", "NoSpace", "node"],
    [400, "Range of CPUs is from 0.01 to 2.00, as there are only 2", "Refused", "provider"],
  ] as const)("%s %s", ([status, message, reason, blame]) => {
    const failure = startFailure(answer(status, message), { image: "some/image", isOfJob: true });
    expect(failure).toMatchObject({ blame, evidence: { reason }, userCodeMayHaveRun: false });
  });
});

describe("a container that ended", () => {
  const end: SeenEnd = {
    containerId: "c1",
    image: "some/image",
    isImageOfJob: true,
    exitCode: 0,
    error: "",
    hasRun: true,
    wasOutOfMemory: false,
    memoryLimit: 64 * 2 ** 20,
    sentSignal: undefined,
    hasConnected: true,
    isExpired: false,
    isRemovedByOthers: false,
    output: "",
  };
  test.for<[string, Partial<SeenEnd>, object | undefined]>([
    ["on purpose", {}, undefined],
    [
      "by itself",
      { exitCode: 3 },
      { cause: "worker_died", blame: "node", evidence: { exit_code: "3" } },
    ],
    [
      "since memory was out",
      { exitCode: 137, wasOutOfMemory: true },
      { cause: "out_of_memory", blame: "user", evidence: { killed: "agent", signal: "SIGKILL" } },
    ],
    [
      "after a child of it was out of memory",
      { exitCode: 1, wasOutOfMemory: true },
      { cause: "out_of_memory", evidence: { killed: "child" } },
    ],
    ["on purpose, after a child of it was out of memory", { wasOutOfMemory: true }, undefined],
    [
      "by somebody's signal",
      { exitCode: 137, sentSignal: 9, wasOutOfMemory: true },
      { cause: "worker_died", evidence: { sent_signal: "SIGKILL" } },
    ],
    [
      "without its program",
      { exitCode: 127 },
      { cause: "start_failed", blame: "user", userCodeMayHaveRun: false },
    ],
    [
      "before it had connected",
      { exitCode: 69, hasConnected: false },
      { cause: "start_failed", stage: "connecting", userCodeMayHaveRun: false },
    ],
    [
      "without having run",
      { hasRun: false, exitCode: undefined, error: "oops" },
      { cause: "start_failed", stage: "creating", evidence: { error: "oops" } },
    ],
    [
      "and is gone",
      { exitCode: undefined, isRemovedByOthers: true },
      { cause: "worker_stopped", userCodeMayHaveRun: true },
    ],
    ["since its time was up", { exitCode: 137, isExpired: true }, { cause: "worker_stopped" }],
  ])("%s", ([, seen, failure]) => {
    const found = endFailure({ ...end, ...seen });
    if (failure === undefined) expect(found).toBeUndefined();
    else expect(found).toMatchObject(failure);
  });
});

it("tells how far a pull has come", () => {
  expect(progressOf(new Map())).toBe("asking the registry");
  const layers = new Map([
    ["a", { current: 2e6, total: 2e6, isDone: true }],
    ["b", { current: 1e6, total: 4e6, isDone: false }],
  ]);
  expect(progressOf(layers)).toBe("1 of 2 layers, 3.0 of 6.0 MB");
});

test.for([
  ["debian", "docker.io"],
  ["some/image:1", "docker.io"],
  ["localhost/debian", "localhost"],
  ["registry.example.org/a/b:1", "registry.example.org"],
  ["127.0.0.1:5000/a", "127.0.0.1:5000"],
] as const)("the registry of %s is %s", ([image, registry]) => {
  expect(registryOf(image)).toBe(registry);
});
