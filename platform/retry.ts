/** When and how often a call is tried again. Full jitter: AWS, "Exponential Backoff And Jitter", 2015. */
export type RetryPolicy = {
  /** Whether a later try may end otherwise. Everything else is thrown at once. */
  isPassing: (error: unknown) => boolean;
  /** Tries at most, the first included. */
  tries: number;
  /** The most that is waited before the second try; doubled for each after it. In milliseconds. */
  firstMs: number;
  /** The most that is waited before any try, in milliseconds. */
  capMs: number;
  /** All tries and waits together take no longer, in milliseconds, where a try keeps to the time that it is given. */
  deadlineMs: number;
  /** What the peer asked to be waited, in milliseconds. Waited at the least; beyond the deadline there is no other try. */
  retryAfterMs?: (error: unknown) => number | undefined;
};

/**
 * Runs `work` until it succeeds, fails for good, or has no try or no time left. Only for work that may
 * run twice: a try whose answer was lost may have done it.
 *
 * @param work gets the milliseconds that are left for this try
 * @throws the error of the last try
 */
export async function withRetries<T>(
  policy: RetryPolicy,
  work: (leftMs: number) => Promise<T>,
): Promise<T> {
  const deadline = Date.now() + policy.deadlineMs;
  for (let tried = 1; ; tried++) {
    try {
      return await work(deadline - Date.now());
    } catch (error) {
      if (tried >= policy.tries || !policy.isPassing(error)) throw error;
      const ceiling = Math.min(policy.firstMs * 2 ** (tried - 1), policy.capMs);
      const wait = Math.max(Math.random() * ceiling, policy.retryAfterMs?.(error) ?? 0);
      if (Date.now() + wait >= deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

/**
 * Reads the header Retry-After (RFC 9110, 10.2.3): seconds, or an HTTP date.
 *
 * @returns milliseconds from `now`, never below 0; undefined where there is none, or it is neither
 */
export function retryAfterMs(header: string | null | undefined, now: number): number | undefined {
  const text = header?.trim() ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  // A date, and nothing else that Date.parse would guess at.
  if (!/^[A-Z][a-z]{2,8},? .* GMT$/.test(text)) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}
