import { openFileLogStore } from "#logstore/files/open.ts";
import { logStoreConformance } from "../conformance/logstore.ts";

const quotaBytesPerAttempt = 64 * 1024 * 1024;
const sizes = { segmentBytes: 2_000, journalBytes: 4_000 };

// The same as in the unit tests, with many more random logs.
logStoreConformance(
  "crowded file",
  (directory) => openFileLogStore({ directory, quotaBytesPerAttempt, ...sizes }),
  300,
);
