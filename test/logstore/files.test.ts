import { openFileLogStore } from "#logstore/files/open.ts";
import { logStoreConformance } from "../conformance/logstore.ts";

const quotaBytesPerAttempt = 64 * 1024 * 1024;

logStoreConformance("file", (directory) => openFileLogStore({ directory, quotaBytesPerAttempt }));

// So small that everything is moved out of the journal all the time.
logStoreConformance("crowded file", (directory) =>
  openFileLogStore({ directory, quotaBytesPerAttempt, segmentBytes: 2_000, journalBytes: 4_000 }),
);
