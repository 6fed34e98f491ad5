import { type Database, sqlState } from "./client.ts";
import { type Chunk, removeChunk, type RetentionRun } from "./retention.ts";

/**
 * A transaction removes at most so many logs; half as many where the last one took longer than `slowMs`, for
 * an export or a hold that begins waits for it, and twice as many where it was much faster.
 */
export type ChunkSizes = { first: number; most: number };
const sizes: ChunkSizes = { first: 1_000, most: 5_000 };
const least = 50;
const slowMs = 400;
const fastMs = 150;
/** Bound of a statement: an export that begins gives up after 3 s of waiting. */
const timeoutMs = 2_000;

/** query_canceled, deadlock_detected: a smaller chunk may fare better. */
const passing = new Set(["57014", "40P01"]);
const mostTries = 5;

/** What a run came to, of which this call removed so many logs. */
export type Removed = Omit<Chunk, "position">;

/**
 * Removes what a run is for, chunk by chunk, oldest first, until a time comes: at least one chunk.
 *
 * @param until milliseconds since 1970
 */
export async function removeOldLogs(
  db: Database,
  run: RetentionRun,
  until: number,
  { first, most } = sizes,
): Promise<Removed> {
  let { position } = run;
  let removed = 0;
  let size = first;
  for (let failed = 0; ;) {
    const began = Date.now();
    try {
      const chunk = await removeChunk(db, { ...run, position }, size, timeoutMs);
      removed += chunk.removed;
      position = chunk.position;
      failed = 0;
      if (chunk.state !== "more" || Date.now() >= until) return { ...chunk, removed };
    } catch (error) {
      if (!passing.has(sqlState(error) ?? "") || ++failed === mostTries) throw error;
    }
    const took = Date.now() - began;
    if (failed > 0 || took > slowMs) size = Math.max(Math.min(least, first), Math.floor(size / 2));
    else if (took < fastMs) size = Math.min(most, size * 2);
  }
}
