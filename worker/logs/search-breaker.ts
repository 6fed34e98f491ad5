import {
  admitCall,
  afterAnswer,
  afterFailure,
  type BreakerRules,
  type BreakerState,
  closedBreaker,
} from "../../platform/breaker.ts";
import type { Logger } from "../../platform/logger.ts";
import { isPassingSearchError } from "../../search/passing-errors.ts";

/** OpenSearch failed again and again a moment ago, and is not asked now. */
export class SearchPaused extends Error {
  constructor() {
    super("OpenSearch is left alone for a while, after failures");
    this.name = "SearchPaused";
  }
}

const rules: BreakerRules = {
  failuresToOpen: 3,
  // A search that is slow for what it asks is no failure of the cluster: its timeout is.
  slowToOpen: Number.POSITIVE_INFINITY,
  firstOpenMs: 5_000,
  maxOpenMs: 30_000,
  // Longer than a search may take.
  probeMs: 5_000,
};

/** Of this isolate, by the cluster's address. */
const breakers = new Map<string, BreakerState>();

/**
 * Asks OpenSearch, unless it failed in the last few calls: without this every list would wait for its
 * timeout before Postgres is asked. While it is left alone, one request at a time tries whether it is back.
 *
 * @throws SearchPaused, or what `ask` throws
 */
export async function throughBreaker<T>(
  node: string,
  logger: Logger,
  ask: () => Promise<T>,
): Promise<T> {
  const present = () => breakers.get(node) ?? closedBreaker;
  const { state, isAdmitted } = admitCall(present(), rules, Date.now());
  breakers.set(node, state);
  if (!isAdmitted) throw new SearchPaused();
  const update = (after: typeof afterFailure | typeof afterAnswer) => {
    const before = present();
    const now = Date.now();
    const next = after(before, rules, now);
    breakers.set(node, next);
    const opened = before.openings === 0 && next.openings > 0;
    const closed = before.openings > 0 && next.openings === 0;
    if (opened) logger.warning("search_breaker_opened", { open_ms: next.openUntil - now });
    if (closed) logger.warning("search_breaker_closed");
  };
  try {
    const found = await ask();
    update(afterAnswer);
    return found;
  } catch (error) {
    // Another error is an answer: the cluster is there.
    update(isPassingSearchError(error) ? afterFailure : afterAnswer);
    throw error;
  }
}
