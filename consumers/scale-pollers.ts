import { within } from "../platform/within.ts";

/** A poller answers as soon as it is there; its storage is its own. */
const callMs = 5_000;

/** What the first poller of a queue asks of the others. */
export type Helper = Rpc.DurableObjectBranded & { help(): Promise<void>; rest(): Promise<void> };

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

export const scalingKey = "scaling";

export async function storedScaling(storage: DurableObjectStorage): Promise<Scaling> {
  return (await storage.get<Scaling>(scalingKey)) ?? onePoller;
}

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

/**
 * Calls pollers to help, or sends them away, by how many messages wait.
 *
 * @param helper the queue's poller of a number from 1
 */
export async function scalePollers(
  waiting: number,
  now: number,
  before: Scaling,
  rules: ScaleRules,
  helper: (n: number) => DurableObjectStub<Helper>,
): Promise<Scaling> {
  const after = wantedPollers(waiting, now, before, rules);
  // Each time, while there is work for them: one may have been restarted, or sleep.
  for (let n = 1; n < neededPollers(waiting, rules); n++) await within(callMs, helper(n).help());
  await sendAway(after.wanted, before.wanted, helper);
  return after;
}

/** Sends the pollers of these numbers away, `to` exclusive. */
export async function sendAway(
  from: number,
  to: number,
  helper: (n: number) => DurableObjectStub<Helper>,
): Promise<void> {
  for (let n = from; n < to; n++) await within(callMs, helper(n).rest());
}
