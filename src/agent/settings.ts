import { closeSync, readFileSync, rmSync } from "node:fs";
import { addressesIn } from "#addresses.ts";
import type { AgentLog } from "./log.ts";

export type AgentEnv = Record<string, string | undefined>;

/** What the agent is told by its environment. */
export interface AgentSettings {
  readonly workerId: string;
  readonly serverAddresses: readonly string[];
  readonly caPath: string | undefined;
  /** The same as text, where no file can be given. */
  readonly ca: string | undefined;
  readonly clientCertPath: string | undefined;
  readonly clientKeyPath: string | undefined;
  /** Where its own directory is made. */
  readonly workRoot: string | undefined;
  readonly slots: number;
  readonly disconnectToleranceMs: number;
  readonly stopGraceMs: number;
  readonly reconnectMaxMs: number;
  readonly logMemoryBytes: number;
  readonly logSpoolBytes: number;
}

/** Throws an error that names the variable. */
export function readSettings(env: AgentEnv): AgentSettings {
  const required = (name: string): string => {
    const value = env[name];
    if (value === undefined || value === "") throw new Error(`${name} is not set`);
    return value;
  };
  const whole = (name: string, fallback: number): number => {
    const text = env[name];
    if (text === undefined || text === "") return fallback;
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} is not a whole number`);
    return value;
  };
  const addresses = (name: string): readonly string[] => {
    const text = required(name);
    try {
      return addressesIn(text);
    } catch (cause) {
      throw new Error(`${name}: ${cause instanceof Error ? cause.message : ""}`, { cause });
    }
  };
  return {
    workerId: required("HODEI_WORKER_ID"),
    serverAddresses: addresses("HODEI_SERVER_ADDRESS"),
    caPath: env["HODEI_CA_CERT_PATH"] || undefined,
    ca: env["HODEI_CA_CERT"] || undefined,
    clientCertPath: env["HODEI_CLIENT_CERT_PATH"] || undefined,
    clientKeyPath: env["HODEI_CLIENT_KEY_PATH"] || undefined,
    workRoot: env["HODEI_AGENT_WORK_DIR"] || undefined,
    slots: Math.max(1, whole("HODEI_AGENT_SLOTS", 1)),
    disconnectToleranceMs: whole("HODEI_DISCONNECT_TOLERANCE_MS", 600_000),
    stopGraceMs: whole("HODEI_AGENT_STOP_GRACE_MS", 5_000),
    reconnectMaxMs: Math.max(1, whole("HODEI_AGENT_RECONNECT_MAX_MS", 2_000)),
    logMemoryBytes: whole("HODEI_AGENT_LOG_MEMORY_BYTES", 1024 * 1024),
    logSpoolBytes: whole("HODEI_AGENT_LOG_SPOOL_BYTES", 64 * 1024 * 1024),
  };
}

/** With what the agent proves that it is the worker that was started. */
export interface Proof {
  /** The metadata that carries it. */
  readonly header: "hodei-otp" | "hodei-attestation";
  /** What it is, for a human. */
  readonly name: string;
  read(): string;
}

/** A token that the cluster vouches for (DESIGN G15), otherwise the one-time token. */
export function takeProof(env: AgentEnv, log: AgentLog): Proof {
  const file = env["HODEI_ATTESTATION_FILE"];
  if (file === undefined || file === "") {
    const otp = takeOtp(env, log);
    return { header: "hodei-otp", name: "the one-time token", read: () => otp };
  }
  const read = (): string => readFileSync(file, "utf8").trim();
  if (read() === "") throw new Error(`HODEI_ATTESTATION_FILE: ${file} is empty`);
  return { header: "hodei-attestation", name: "the attestation of this worker", read };
}

/** The one-time token, from where it was handed over; afterwards it is nowhere else if that can be helped (DESIGN G13). */
function takeOtp(env: AgentEnv, log: AgentLog): string {
  const { HODEI_OTP_FD: fd, HODEI_OTP_FILE: file, HODEI_OTP_TOKEN: token } = env;
  delete env["HODEI_OTP_TOKEN"];
  const otp = fd ? readDescriptor(fd) : file ? readFile(file, log) : readToken(token, log);
  if (otp === "") throw new Error("the one-time token is empty");
  return otp;
}

function readDescriptor(fd: string): string {
  const number = Number(fd);
  const isUsable = Number.isInteger(number) && (number === 0 || number >= 3);
  if (!isUsable) throw new Error("HODEI_OTP_FD is no descriptor");
  const text = readFileSync(number, "utf8").trim();
  // Standard input stays, read to its end: whatever is opened next would take its place.
  if (number !== 0) closeSync(number);
  return text;
}

function readFile(path: string, log: AgentLog): string {
  const text = readFileSync(path, "utf8").trim();
  try {
    rmSync(path);
  } catch {
    log.debug({ path }, "the token file cannot be removed");
  }
  return text;
}

function readToken(token: string | undefined, log: AgentLog): string {
  if (token === undefined || token === "") {
    throw new Error("none of HODEI_OTP_FD, HODEI_OTP_FILE and HODEI_OTP_TOKEN is set");
  }
  log.warn({}, "HODEI_OTP_TOKEN can be read by other processes; prefer HODEI_OTP_FILE");
  return token;
}
