import { AdminServiceService } from "#rpc/gen/hodei/v1/admin_service.ts";
import type { CallOptions, Channel } from "./channel.ts";

export interface Backup {
  readonly directory: string;
  readonly files: number;
  readonly bytes: number;
}

/** Keeps the server itself in order: for admins. */
export class Admin {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Writes everything that was acknowledged before the call into a new folder on the server's machine; the server goes on meanwhile. */
  async backup(directory: string, options: CallOptions = {}): Promise<Backup> {
    // Not repeated: the folder would not be empty any more.
    return this.#channel.callOnce(AdminServiceService.backup, { directory }, options);
  }
}
