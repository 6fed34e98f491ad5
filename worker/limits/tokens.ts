import { keepRecent } from "../../platform/keep-recent.ts";

/** Tokens come one by one, and as many as are there may be taken at once. */
export type Bucket = {
  /** What it is for. */
  key: string;
  /** How long one takes to come, in milliseconds. */
  everyMs: number;
  /** How many there are when nobody took one for long, and at first. */
  most: number;
};

const maxKept = 10_000;
/** When each bucket is full again; those that were used longest ago go first. */
const fullAt = new Map<string, number>();

/**
 * Takes one token out of each bucket of this isolate, or none of any.
 *
 * @returns the first bucket that has none, and after how many whole seconds it has one, at least 1;
 *   undefined where they were taken
 */
export function takeTokens<Of extends Bucket>(
  buckets: readonly Of[],
): { empty: Of; afterSeconds: number } | undefined {
  const now = Date.now();
  const found = buckets.map((bucket) => ({ bucket, fullMs: untilFullMs(bucket, now) }));
  const missingMs = ({ bucket: { everyMs, most }, fullMs }: (typeof found)[number]) =>
    fullMs - (most - 1) * everyMs;
  const empty = found.find((one) => missingMs(one) > 0);
  for (const { bucket, fullMs } of found)
    keepRecent(fullAt, bucket.key, now + fullMs + (empty ? 0 : bucket.everyMs), maxKept);
  return empty && { empty: empty.bucket, afterSeconds: Math.ceil(missingMs(empty) / 1_000) };
}

/** No longer than an empty one takes: the tenant may be in another tier now, or the clock was set back. */
function untilFullMs({ key, everyMs, most }: Bucket, now: number): number {
  return Math.min(Math.max(0, (fullAt.get(key) ?? now) - now), most * everyMs);
}
