import { text } from "./setting.ts";

// The settings of what is known of providers beside those of each type.

export const providersShape = {
  providersFile: text(
    "",
    "YAML or JSON list of further providers, read at the start; empty: only those of these settings and of the API",
  ),
  encryptionKey: text(
    "",
    "Key for the credentials of providers: 32 bytes in base 64; empty: the file `encryption.key` in the data directory, made when it is needed",
  ),
  encryptionKeyFile: text("", "File with that key"),
};
