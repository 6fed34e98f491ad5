import { withRetries } from "../platform/retry.ts";
import { DatabaseUnavailable, sqlState } from "./client.ts";

/** SQLSTATE query_canceled: it took too long, and would again. */
const statementTimeout = "57014";

const once = {
  isPassing: (error: unknown) =>
    error instanceof DatabaseUnavailable && sqlState(error) !== statementTimeout,
  tries: 2,
  firstMs: 200,
  capMs: 200,
  // A statement or a connection that hung has used up the caller's time.
  deadlineMs: 4_000,
};

/**
 * Runs a query once more where it failed for a passing reason, and soon. Only for what may run twice: a
 * batch whose answer was lost may be committed. That is every read, and a write that changes nothing when
 * it is repeated; one that also counts something must count what it changed.
 */
export function repeatable<T>(query: () => Promise<T>): Promise<T> {
  return withRetries(once, query);
}
