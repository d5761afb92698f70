import { openMemoryStore } from "#store/memory/open.ts";
import { storeConformance } from "../conformance/store.ts";

storeConformance("memory", () => Promise.resolve(openMemoryStore()));
