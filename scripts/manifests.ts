// Writes the manifests in deploy/kubernetes and the chart's templates from src/provider/kubernetes/manifests.ts.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { defaultsOf } from "../src/provider/kubernetes/config.ts";
import {
  defaultServerImage,
  manifestGroups,
  printManifests,
} from "../src/provider/kubernetes/manifests.ts";
import { chartTemplates } from "./chart.ts";

const root = join(import.meta.dirname, "../deploy");
const folders = { standard: "", legacy: "legacy" } as const;

/** Every file below deploy that is printed, with its text. */
export function manifestFiles(): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const [profile, folder] of Object.entries(folders) as [keyof typeof folders, string][]) {
    const options = { config: defaultsOf(profile), serverImage: defaultServerImage } as const;
    for (const group of manifestGroups) {
      const text = printManifests({ ...options, store: "embedded" }, [group]);
      const shared = printManifests({ ...options, store: "redis" }, [group]);
      files.set(join("kubernetes", folder, `${group}.yaml`), text);
      if (shared !== text) files.set(join("kubernetes", folder, "redis", `${group}.yaml`), shared);
    }
  }
  for (const [name, text] of chartTemplates()) {
    files.set(join("helm/hodei-jobs/templates", name), text);
  }
  return files;
}

if (import.meta.main) {
  for (const [file, text] of manifestFiles()) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
}
