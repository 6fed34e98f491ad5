import type { Context } from "hono";
import { addDegradedSearches } from "../../db/counters.ts";
import type { Database } from "../../db/client.ts";
import { reasonOf } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";

const pauseMs = 1_000;
let uncounted = 0;
let isWriting = false;

/**
 * Counts, after the answer, a search that came from Postgres because OpenSearch did not answer. One request
 * at a time writes for all of its isolate, so that an outage costs no more than a small write a second.
 */
export function countDegradedSearch(c: Context<AppEnv>, db: Database): void {
  uncounted++;
  if (isWriting) return;
  isWriting = true;
  c.executionCtx.waitUntil(write(c, db));
}

async function write(c: Context<AppEnv>, db: Database): Promise<void> {
  // A request may work for 30 s after its answer; whatever is left then, the next one counts.
  for (let round = 0; uncounted > 0 && round < 10; round++) {
    if (round > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    const n = uncounted;
    uncounted = 0;
    try {
      await addDegradedSearches(db, n);
    } catch (error) {
      uncounted += n;
      c.var.logger.warning("count_failed", { reason: reasonOf(error) });
      break;
    }
  }
  isWriting = false;
}
