import type { Context } from "hono";
import { withRetries } from "../platform/retry.ts";
import { firstPoller } from "../platform/poller-names.ts";
import { within } from "../platform/within.ts";
import type { AppEnv } from "./env.ts";

/**
 * A woken poller polls for a minute at least, and counts as active for ten: a wake each 10 s for an
 * isolate hides no write from either.
 */
const wakeEveryMs = 10_000;
/** By the binding of the queue's pollers. */
const lastWakes = new WeakMap<object, number>();

/** Whether pollers that were woken last at one time may be woken at another; both in milliseconds since 1970. */
export function isWakeDue(last: number | undefined, now: number): boolean {
  // Below 0 the clock was set back: that must not keep a poller asleep.
  const since = now - (last ?? 0);
  return since < 0 || since >= wakeEveryMs;
}

const retries = {
  isPassing: () => true,
  tries: 3,
  firstMs: 200,
  capMs: 1_000,
  deadlineMs: 5_000,
};

/**
 * Wakes the first poller of a queue, unless this isolate did so a moment ago. It is woken whether or not
 * its message could be sent: by this too the service knows that something was written, and looks after it.
 *
 * @throws when the poller cannot be reached; the watchdog wakes it where messages wait
 */
export async function wakePoller(
  c: Context<AppEnv>,
  queue: "LOG_POLLER" | "EXPORT_POLLER",
): Promise<void> {
  const pollers = c.env[queue];
  if (!isWakeDue(lastWakes.get(pollers), Date.now())) return;
  lastWakes.set(pollers, Date.now());
  try {
    // A stub whose call failed for the connection may be broken for good.
    await withRetries(retries, (leftMs) => within(leftMs, pollers.getByName(firstPoller).wake()));
  } catch (error) {
    lastWakes.delete(pollers);
    throw error;
  }
}
