import type { Role } from "#tenant/identity.ts";

/** Who may call an RPC: a client with at least this role, a worker's agent, or anybody. */
export type Policy =
  | { readonly who: "client"; readonly least: Role; readonly isMutating: boolean }
  | { readonly who: "agent" }
  | { readonly who: "anybody" };

/** Every RPC that is served. What is not in this table is refused; a test compares it with the proto. */
export const policies: Readonly<Record<string, Policy>> = {
  "/hodei.v1.JobService/SubmitJob": changes("submitter"),
  "/hodei.v1.JobService/SubmitJobs": changes("submitter"),
  "/hodei.v1.JobService/GetJob": reads("viewer"),
  "/hodei.v1.JobService/ListJobs": reads("viewer"),
  "/hodei.v1.JobService/WatchJob": reads("viewer"),
  "/hodei.v1.JobService/CancelJob": changes("submitter"),
  "/hodei.v1.JobService/ExplainJob": reads("viewer"),
  "/hodei.v1.LogStreamService/StreamLogs": reads("viewer"),
  "/hodei.v1.LogStreamService/GetLogs": reads("viewer"),
  "/hodei.v1.WorkerService/ListWorkers": reads("viewer"),
  "/hodei.v1.WorkerService/GetWorker": reads("viewer"),
  "/hodei.v1.WorkerService/DrainWorker": changes("operator"),
  "/hodei.v1.WorkerService/TerminateWorker": changes("operator"),
  "/hodei.v1.ProviderService/ListProviders": reads("operator"),
  "/hodei.v1.ProviderService/GetProvider": reads("operator"),
  "/hodei.v1.ProviderService/RegisterProvider": changes("admin"),
  "/hodei.v1.ProviderService/UpdateProvider": changes("admin"),
  "/hodei.v1.ProviderService/EnableProvider": changes("operator"),
  "/hodei.v1.ProviderService/DisableProvider": changes("operator"),
  "/hodei.v1.ProviderService/DeleteProvider": changes("admin"),
  "/hodei.v1.ProviderService/GetProviderStats": reads("operator"),
  "/hodei.v1.ProviderService/ListProviderEvents": reads("operator"),
  "/hodei.v1.TokenService/CreateToken": changes("admin"),
  "/hodei.v1.TokenService/ListTokens": reads("admin"),
  "/hodei.v1.TokenService/RevokeToken": changes("admin"),
  "/hodei.v1.AuditService/ListAuditEntries": reads("admin"),
  "/hodei.v1.AdminService/Backup": changes("admin"),
  "/hodei.v1.AgentService/Redeem": { who: "agent" },
  "/hodei.v1.AgentService/Control": { who: "agent" },
  "/hodei.v1.AgentService/Logs": { who: "agent" },
  "/grpc.health.v1.Health/Check": { who: "anybody" },
  "/grpc.health.v1.Health/List": { who: "anybody" },
  "/grpc.health.v1.Health/Watch": { who: "anybody" },
  "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": { who: "anybody" },
  "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": { who: "anybody" },
};

function reads(least: Role): Policy {
  return { who: "client", least, isMutating: false };
}

function changes(least: Role): Policy {
  return { who: "client", least, isMutating: true };
}
