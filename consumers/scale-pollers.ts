export type ScaleRules = {
  /** Pollers at most. */
  max: number;
  /** Messages that wait for each poller before another helps. */
  messagesEach: number;
  /** The backlog must have been low for this long before pollers are sent away, in milliseconds. */
  lowMs: number;
};

export type Scaling = {
  wanted: number;
  /** Since when fewer would do, and the most that were needed in that time. */
  low: { since: number; most: number } | null;
};

export const onePoller: Scaling = { wanted: 1, low: null };

/** How many pollers a backlog needs, from 1 to the most that there may be. */
export function neededPollers(waiting: number, rules: ScaleRules): number {
  return Math.max(1, Math.min(rules.max, Math.ceil(waiting / rules.messagesEach)));
}

/**
 * How many pollers there should be: more as soon as the backlog needs them, fewer only after it has
 * needed fewer for a while, so that a backlog that comes and goes does not make pollers come and go.
 *
 * @param waiting messages that wait in the queue
 * @param now milliseconds since 1970
 */
export function wantedPollers(
  waiting: number,
  now: number,
  { wanted, low }: Scaling,
  rules: ScaleRules,
): Scaling {
  const needed = neededPollers(waiting, rules);
  if (needed >= wanted) return { wanted: needed, low: null };
  const most = Math.max(needed, low?.most ?? 0);
  const since = low?.since ?? now;
  return now - since < rules.lowMs ? { wanted, low: { since, most } } : { wanted: most, low: null };
}
