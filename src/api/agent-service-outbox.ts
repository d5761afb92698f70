import { HodeiError } from "#error.ts";
import type { ControlResponse, ServerCommand } from "#rpc/gen/hodei/v1/agent_service.ts";
import type { Write } from "#rpc/write.ts";

/** Specs in one message; what comes after goes into the next one. */
const messageBytes = 512 * 1024;

export interface OutboxOptions {
  readonly write: Write<ControlResponse>;
  /** Commands that may wait. */
  readonly bound: number;
  /** The agent takes nothing, or the stream is broken: it must end. */
  readonly onFailure: (error: unknown) => void;
}

/** Commands of one turn of the event loop leave in one message; those that a slow agent does not take wait, up to a bound. */
export class Outbox {
  readonly #options: OutboxOptions;
  #waiting: ServerCommand[] = [];
  #isBusy = false;
  #isClosed = false;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  push(command: ServerCommand["command"]): void {
    if (this.#isClosed) return;
    if (this.#waiting.push({ command }) > this.#options.bound) {
      this.close();
      const text = `more than ${this.#options.bound} commands wait for the agent`;
      this.#options.onFailure(new HodeiError("resource_exhausted", text));
    } else if (!this.#isBusy) {
      this.#isBusy = true;
      setImmediate(() => void this.#send());
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
  }

  async #send(): Promise<void> {
    try {
      while (this.#waiting.length > 0) await this.#options.write({ commands: this.#take() });
    } catch (error) {
      this.close();
      this.#options.onFailure(error);
    } finally {
      this.#isBusy = false;
    }
  }

  #take(): ServerCommand[] {
    const all = this.#waiting;
    let bytes = 0;
    const end = all.findIndex(({ command }, index) => {
      if (command?.$case === "assignment") bytes += command.value.spec.length;
      return bytes > messageBytes && index > 0;
    });
    this.#waiting = end === -1 ? [] : all.slice(end);
    return end === -1 ? all : all.slice(0, end);
  }
}
