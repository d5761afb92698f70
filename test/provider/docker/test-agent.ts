// Stands in for the agent in the provider suite: takes its token from its input, says on its output what it was given, and does as its environment says.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";

const otp = readFileSync(0, "utf8").trimEnd();
const way = process.env["TEST_WAY"] ?? "";
if (way.includes("stubborn")) process.on("SIGTERM", () => undefined);
if (way.includes("job")) spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
console.log(`REPORT ${JSON.stringify({ otpLength: otp.length, env: process.env })}`);
if (way.includes("exit")) process.exit(3);
if (way === "eats") eat();
if (way === "child eats")
  spawn(process.execPath, [import.meta.filename], {
    env: { TEST_WAY: "eats" },
    stdio: ["ignore", "ignore", "ignore"],
  });
setTimeout(() => undefined, 600_000);

function eat(): never {
  const kept: Buffer[] = [];
  for (;;) kept.push(Buffer.alloc(8 * 2 ** 20, 1));
}
