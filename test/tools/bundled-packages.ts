import { z } from "zod";

const metafile = z.object({
  outputs: z.record(
    z.string(),
    z.object({
      inputs: z.record(z.string(), z.object({ bytesInOutput: z.number() })).default({}),
    }),
  ),
});
const lockFile = z.object({
  packages: z.record(
    z.string(),
    z.object({ version: z.string().optional(), dev: z.boolean().default(false) }),
  ),
});

export type BundledPackage = {
  /** Its folder, as package-lock.json has it: `node_modules/hono`. */
  folder: string;
  version: string | undefined;
  /** Whether `npm audit --omit=dev` asks about it. */
  isAudited: boolean;
};

/**
 * The packages of which a bundle has code.
 *
 * @param meta what esbuild says of the bundle, as JSON
 * @param lock package-lock.json
 */
export function bundledPackages(meta: string, lock: string): BundledPackage[] {
  const { packages } = lockFile.parse(JSON.parse(lock));
  const files = Object.values(metafile.parse(JSON.parse(meta)).outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? file : [])),
  );
  const folders = new Set(files.flatMap((file) => folderOf.exec(file)?.[1] ?? []));
  return [...folders].toSorted().map((folder) => {
    const locked = packages[folder];
    return { folder, version: locked?.version, isAudited: locked !== undefined && !locked.dev };
  });
}

/** Of a package within a package too: its folder is that of the inner one. */
const folderOf = /^(?:\.\.\/)*((?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+)\//;
