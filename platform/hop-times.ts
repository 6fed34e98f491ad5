import { AsyncLocalStorage } from "node:async_hooks";

type Hop = "db" | "search" | "s3";

const current = new AsyncLocalStorage<Map<Hop, number>>();

/** Runs a request or the work on a message, and adds up how long it waits for each back end. */
export const withHopTimes = <T>(run: () => T): T => current.run(new Map(), run);

/** Waits for a back end: counted where `withHopTimes` is around it. */
export async function timedHop<T>(hop: Hop, call: () => Promise<T>): Promise<T> {
  const times = current.getStore();
  if (!times) return call();
  const began = Date.now();
  try {
    return await call();
  } finally {
    times.set(hop, (times.get(hop) ?? 0) + Date.now() - began);
  }
}

/**
 * The fields of a log event: `db_ms`, `search_ms`, `s3_ms`, of those that were called. Calls at the same time
 * are added up, so that a sum can be more than the whole took.
 */
export function hopTimes(): Record<string, number> {
  const times = current.getStore() ?? [];
  return Object.fromEntries([...times].map(([hop, ms]) => [`${hop}_ms`, ms]));
}
