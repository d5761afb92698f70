import type { Server } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation } from "grpc-health-check";

/** The services that every gRPC server has. */
export interface StandardServices {
  addTo(server: Pick<Server, "addService">): void;
  /** What `grpc.health.v1.Health` says, for the whole server and each service. */
  setServing(isServing: boolean): void;
}

export interface StandardServicesOptions {
  /** Holds `hodei/v1/*.proto`; undefined: no reflection. */
  readonly protoDirectory: string | undefined;
  readonly protoFiles: readonly string[];
  /** Full names, such as `hodei.v1.JobService`. */
  readonly services: readonly string[];
}

export function createStandardServices(options: StandardServicesOptions): StandardServices {
  const names = ["", ...options.services];
  const health = new HealthImplementation(
    Object.fromEntries(names.map((name) => [name, "NOT_SERVING" as const])),
  );
  const { protoDirectory } = options;
  const reflection =
    protoDirectory === undefined
      ? undefined
      : new ReflectionService(
          loadSync([...options.protoFiles], { includeDirs: [protoDirectory], keepCase: true }),
        );
  return {
    addTo(server) {
      health.addToServer(server);
      reflection?.addToServer(server);
    },
    setServing(isServing) {
      for (const name of names) health.setStatus(name, isServing ? "SERVING" : "NOT_SERVING");
    },
  };
}
