/** What Cloudflare takes of a Worker, packed, on the smallest plan: 3 MB. The paid plan takes 10. */
export const maxGzipKib = 3_000_000 / 1_024;

export type BundleSize = { worker: string; kib: number; gzipKib: number };

/**
 * A bundle's size as wrangler says it.
 *
 * @param output of `wrangler deploy --dry-run`
 * @returns undefined where the output does not say it
 */
export function bundleSize(worker: string, output: string): BundleSize | undefined {
  const found = /Total Upload: ([\d.]+) KiB \/ gzip: ([\d.]+) KiB/.exec(output);
  return found ? { worker, kib: Number(found[1]), gzipKib: Number(found[2]) } : undefined;
}

/** A line for each Worker, the largest first. */
export function sizeTable(sizes: readonly BundleSize[]): string {
  const rows = sizes
    .toSorted((one, other) => other.gzipKib - one.gzipKib)
    .map(({ worker, kib, gzipKib }) => [
      worker,
      kib.toFixed(0),
      gzipKib.toFixed(0),
      `${((gzipKib / maxGzipKib) * 100).toFixed(0)} %`,
    ]);
  const table = [["Worker", "KiB", "KiB gzip", "of the limit"], ...rows];
  const widths = [0, 1, 2, 3].map((n) => Math.max(...table.map((row) => row[n]?.length ?? 0)));
  return table
    .map((row) =>
      row
        .map((cell, n) => (n === 0 ? cell.padEnd(widths[n] ?? 0) : cell.padStart(widths[n] ?? 0)))
        .join("  "),
    )
    .join("\n");
}

/** The Workers that Cloudflare would not take. */
export function tooLarge(sizes: readonly BundleSize[]): string[] {
  return sizes.filter(({ gzipKib }) => gzipKib > maxGzipKib).map(({ worker }) => worker);
}
