import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Cluster, Ground, hookMs, openMs, type Running, testMs } from "./ground.ts";

const mebibyte = 1024 * 1024;

/** What only a kernel behind the pods can show. */
export function realSuite(open: () => Promise<Cluster>): void {
  describe("pods on the cluster", { timeout: testMs }, () => {
    let ground: Ground;
    let hodei: Running;

    beforeAll(async () => {
      ground = new Ground(await open());
      hodei = await ground.start();
    }, openMs);
    afterAll(() => ground[Symbol.asyncDispose](), hookMs);
    afterEach(() => hodei.isClean(), hookMs);

    test("a job is nobody special: no root, no writable root, no credentials of the cluster", async () => {
      const script = `
        id -u
        touch /usr/touched 2>/dev/null && echo "root is writable"
        touch /tmp/touched ./touched && echo "scratch is writable"
        ls /var/run/secrets/kubernetes.io 2>/dev/null
        grep -c '^CapEff:\\s*0000000000000000$' /proc/self/status
        env | grep -ciE 'otp|session|token'
        true`;
      const { job, output } = await hodei.run({ script });
      expect(job.state).toBe("succeeded");
      expect(output.split("\n")).toEqual(["1000", "scratch is writable", "1", "0", ""]);
    });

    test("no process of the pod shows the token or the session to the job", async () => {
      const script = `
        for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; tr '\\0' ' ' < $p/cmdline; done 2>/dev/null | grep -E '[A-Za-z0-9_-]{43}' || echo none`;
      const { output } = await hodei.run({ script });
      expect(output).toBe("none\n");
    });

    test("python, git and curl are there", async () => {
      const { output } = await hodei.run({
        script:
          "python3 -c 'print(6 * 7)'; git --version >/dev/null && curl --version >/dev/null && echo ok",
      });
      expect(output).toBe("42\nok\n");
    });

    test("a job that takes more memory than it asked for is told so, whatever its exit code says", async () => {
      const script = `python3 -c "
blocks = []
while True: blocks.append(bytearray(8 << 20))
"`;
      const { job } = await hodei.run({ script, resources: { memoryBytes: 64 * mebibyte } });
      expect(job).toMatchObject({ state: "failed", failure: { cause: "out_of_memory" } });
    });

    // Said by whoever knows the cluster: a network that ignores policies accepts them all the same.
    test.runIf(process.env["HODEI_K8S_TEST_POLICIES"] === "1")(
      "a job reaches neither the cluster's API nor another worker, where policies are enforced",
      async () => {
        const id = await hodei.submit({ command: ["python3", "-m", "http.server", "8000"] });
        await hodei.running(id);
        const neighbour = (await hodei.pod(id)).status?.podIP ?? "";
        const script = `python3 - "$KUBERNETES_SERVICE_HOST" "$KUBERNETES_SERVICE_PORT" ${neighbour} 8000 <<'E'
import socket, sys
hosts = sys.argv[1:]
for host, port in zip(hosts[::2], hosts[1::2]):
    try:
        socket.create_connection((host, int(port)), 5)
        print("reached", host)
    except OSError:
        print("kept from it")
E`;
        const { output } = await hodei.run({ script });
        expect(output).toBe("kept from it\nkept from it\n");
        await hodei.client.cancel(id);
        await hodei.client.wait(id);
      },
    );

    test("a hundred lines a second arrive while the job runs", async () => {
      const id = await hodei.submit({
        script: "for i in $(seq 1 500); do echo tick $i; sleep 0.01; done",
      });
      let seen = 0;
      let whileRunning = 0;
      for await (const part of hodei.client.logs(id, { follow: true })) {
        seen += Buffer.from(part.data).toString().split("\n").length - 1;
        if (whileRunning === 0 && (await hodei.client.get(id)).state === "running") {
          whileRunning = seen;
        }
      }
      expect(seen).toBe(500);
      expect(whileRunning).toBeGreaterThan(0);
    });
  });
}
