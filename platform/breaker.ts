/**
 * A circuit breaker (M. Nygard, Release It!), as plain data and functions: a state may be kept in an
 * isolate's memory or in a Durable Object's storage, and whoever keeps it says what time it is.
 *
 * Closed, every call is made. After too many failures or slow answers in a row it opens, and none is. When
 * that time is over it is half-open: one call at a time probes; a good one closes it, a bad one opens it
 * again for twice as long.
 */
export type BreakerState = {
  /** Calls in a row that failed, and that were slow. */
  failures: number;
  slow: number;
  /** How often it has opened since it was last closed: 0 is closed. */
  openings: number;
  /** Milliseconds since 1970. */
  openUntil: number;
  /** While half-open: until when a probe is waited for. */
  probeUntil: number;
};

export type BreakerRules = {
  /** So many failures in a row open it. */
  failuresToOpen: number;
  /** So many slow answers in a row open it. */
  slowToOpen: number;
  /** How long it stays open at first, and at most; half of it at random. In milliseconds. */
  firstOpenMs: number;
  maxOpenMs: number;
  /** A probe that has not ended after this counts as lost, and another is let through. */
  probeMs: number;
};

export const closedBreaker: BreakerState = {
  failures: 0,
  slow: 0,
  openings: 0,
  openUntil: 0,
  probeUntil: 0,
};

export function breakerPhase(state: BreakerState, now: number): "closed" | "open" | "half-open" {
  if (state.openings === 0) return "closed";
  return now < state.openUntil ? "open" : "half-open";
}

/** Asks whether a call may be made. While half-open, who is admitted is the probe. */
export function admitCall(
  state: BreakerState,
  rules: BreakerRules,
  now: number,
): { state: BreakerState; isAdmitted: boolean } {
  const phase = breakerPhase(state, now);
  if (phase === "closed") return { state, isAdmitted: true };
  if (phase === "open" || now < state.probeUntil) return { state, isAdmitted: false };
  return { state: { ...state, probeUntil: now + rules.probeMs }, isAdmitted: true };
}

/** After a call that was answered; `isSlow` where it took longer than it should. */
export function afterAnswer(
  state: BreakerState,
  rules: BreakerRules,
  now: number,
  isSlow = false,
): BreakerState {
  const phase = breakerPhase(state, now);
  // An answer to a call from before it opened says nothing of now.
  if (phase === "open") return state;
  if (!isSlow) return closedBreaker;
  const slow = state.slow + 1;
  if (phase === "half-open" || slow >= rules.slowToOpen) return opened(state, rules, now);
  return { ...state, failures: 0, slow };
}

/** After a call that failed. */
export function afterFailure(state: BreakerState, rules: BreakerRules, now: number): BreakerState {
  const phase = breakerPhase(state, now);
  if (phase === "open") return state;
  const failures = state.failures + 1;
  if (phase === "half-open" || failures >= rules.failuresToOpen) return opened(state, rules, now);
  return { ...state, failures };
}

function opened(state: BreakerState, rules: BreakerRules, now: number): BreakerState {
  const longest = Math.min(rules.firstOpenMs * 2 ** state.openings, rules.maxOpenMs);
  const openMs = Math.round(longest / 2 + (Math.random() * longest) / 2);
  return {
    failures: 0,
    slow: 0,
    openings: state.openings + 1,
    openUntil: now + openMs,
    probeUntil: 0,
  };
}
