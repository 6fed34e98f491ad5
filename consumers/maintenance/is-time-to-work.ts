import { connectSqs } from "../../aws/sqs.ts";
import type { SqsConfig } from "../../platform/config.ts";
import { firstPoller } from "../../platform/poller-names.ts";
import type { Wakeable } from "../../platform/wakeable.ts";
import { within } from "../../platform/within.ts";

const minuteMs = 60_000;
const statusMs = 5_000;
const quietMs = 10 * minuteMs;
const quietEveryMs = 15 * minuteMs;

type Pollers = DurableObjectNamespace<Wakeable>;

/**
 * Whether this minute's work is due: each minute while something happens, else every 15, for a serverless
 * database suspends when no one asks it. Pollers and queues are asked what happens, never the database.
 * What the last hours left behind is found every 15 minutes, and what is then sent is activity again.
 *
 * @param now the minute that the cron was scheduled for, in milliseconds since 1970
 * @param sqs undefined where no queue is configured
 */
export async function isTimeToWork(
  now: number,
  sqs: SqsConfig | undefined,
  pollers: readonly Pollers[],
): Promise<boolean> {
  if (Math.floor(now / minuteMs) % (quietEveryMs / minuteMs) === 0) return true;
  const queues = sqs === undefined ? [] : [sqs.logQueueUrl, sqs.exportQueueUrl];
  const found = await Promise.allSettled([
    ...pollers.map((queue) => wasActive(queue, now)),
    ...queues.map((url) => hasMessages(sqs, url)),
  ]);
  // Who cannot be asked may be busy.
  return found.some((one) => one.status === "rejected" || one.value);
}

async function wasActive(pollers: Pollers, now: number): Promise<boolean> {
  const status = pollers.getByName(firstPoller).status();
  const { lastActivityAt } = await within(statusMs, status);
  return lastActivityAt !== null && now - lastActivityAt < quietMs;
}

async function hasMessages(sqs: SqsConfig | undefined, url: string): Promise<boolean> {
  if (sqs === undefined) return false;
  const { waiting, inFlight } = await connectSqs(sqs).depth(url);
  return waiting + inFlight > 0;
}
