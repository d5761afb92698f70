import { isAbsolute } from "node:path";
import { HodeiError, invalid } from "#error.ts";
import type { AdminServiceService } from "#rpc/gen/hodei/v1/admin_service.ts";
import type { Handlers } from "#rpc/serve.ts";
import type { Audit } from "./audit.ts";
import type { Caller } from "./authenticate.ts";
import { checkText } from "./validate.ts";

/** Writes a backup into a folder that is empty or not there, and says what it holds. */
export type WriteBackup = (
  directory: string,
) => Promise<{ readonly files: number; readonly bytes: number }>;

export interface AdminServiceOptions {
  /** Undefined where the state is not on this machine. */
  readonly backup?: WriteBackup | undefined;
  readonly audit: Audit;
}

const longestPath = 4_096;

/** Keeps the server itself in order. */
export function adminService({
  backup,
  audit,
}: AdminServiceOptions): Handlers<typeof AdminServiceService, Caller> {
  return {
    backup: async ({ directory }, call) =>
      audit.around(call, directory.slice(0, 256), async () => {
        checkText("directory", directory, longestPath);
        if (!isAbsolute(directory)) throw invalid("directory", "is not an absolute path");
        if (backup === undefined) {
          throw new HodeiError("unimplemented", "the state of this server is not on its disk", {
            hint: "back up the database that it uses",
          });
        }
        return { directory, ...(await backup(directory)) };
      }),
  };
}
