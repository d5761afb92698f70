import { InvalidArgumentError } from "commander";
import { UsageError } from "./exit.ts";

/** A parser of a flag's value; with the right kind of error commander's complaint names the flag. */
export function arg<Value>(
  parse: (text: string, before?: Value) => Value,
): (text: string, before?: Value) => Value {
  return (text, before) => {
    try {
      return parse(text, before);
    } catch (error) {
      throw error instanceof UsageError ? new InvalidArgumentError(error.message) : error;
    }
  };
}
