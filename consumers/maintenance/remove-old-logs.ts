import { connectSqs } from "../../aws/sqs.ts";
import { connectDatabase, type Database } from "../../db/client.ts";
import { underLease } from "../../db/job-leases.ts";
import type { OutboxKey } from "../../db/outbox.ts";
import { removeOldLogs } from "../../db/remove-old-logs.ts";
import { nextRun, settleRun } from "../../db/retention-runs.ts";
import { indexMessagesFor } from "../../events/messages.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { reasonOf } from "../../platform/errors.ts";
import type { LogFields, Logger } from "../../platform/logger.ts";
import { firstPoller } from "../../platform/poller-names.ts";

const leaseSeconds = 120;
/** A run of the cron removes logs for this long at most, and those of one tenant for so long at a time. */
const limits = { runMs: 15_000, turnMs: 2_000 };

/** The cron's part in it: what admins have asked for and is not done, and each day what is too old since. */
export async function continueRetention({
  config,
  env,
  logger,
  event,
}: {
  config: Config;
  env: { LOG_POLLER: { getByName(name: string): { wake(): Promise<void> } } };
  logger: Logger;
  event: LogFields;
}): Promise<void> {
  const db = connectDatabase(requireSection(config, "database"));
  if (!(await nextRun(db))) return;
  await underLease(db, "retention", leaseSeconds, async () => {
    const { removed, recorded } = await runRetention(db, logger);
    event["logs_removed"] = removed;
    await tellIndexer(config, logger, recorded);
  });
  // A poller that is awake is a sign of work: the next run comes in a minute, and not when logs do.
  if (event["logs_removed"] !== 0 || (await nextRun(db)))
    await env.LOG_POLLER.getByName(firstPoller).wake();
}

/**
 * One run: the tenants in turn, the one that has waited longest first. Each chunk is a transaction, and where
 * a tenant is stands in the database: a run may end anywhere.
 *
 * @returns how many logs were removed, and the logs that were stored of it
 */
export async function runRetention(
  db: Database,
  logger: Logger,
  { runMs, turnMs } = limits,
): Promise<{ removed: number; recorded: OutboxKey[] }> {
  const until = Date.now() + runMs;
  const recorded: OutboxKey[] = [];
  let removed = 0;
  while (Date.now() < until) {
    const run = await nextRun(db);
    if (!run) break;
    const fields = { tenant_id: run.tenantId, cutoff: new Date(run.cutoff).toISOString() };
    try {
      const turn = await removeOldLogs(db, run, Math.min(until, Date.now() + turnMs));
      removed += turn.removed;
      const logId = await settleRun(db, run, turn.state);
      if (logId !== undefined) recorded.push({ tenantId: run.tenantId, logId });
      const { state } = turn;
      if (turn.removed > 0) logger.info("retention", { ...fields, logs: turn.removed, state });
    } catch (error) {
      // The others go on: but not where the database itself does not answer.
      await settleRun(db, run, "failed");
      logger.error("retention_failed", { ...fields, reason: reasonOf(error) });
    }
  }
  return { removed, recorded };
}

/** Nothing depends on it: what is not sent here is sent by the outbox sweep. */
async function tellIndexer(config: Config, logger: Logger, keys: OutboxKey[]): Promise<void> {
  const { search, sqs } = config.sections;
  // Without OpenSearch no one reads the queue.
  if (!search || !sqs || keys.length === 0) return;
  try {
    const messages = keys.flatMap(({ tenantId, logId }) =>
      indexMessagesFor(tenantId, [logId], "retention"),
    );
    const failed = await connectSqs(sqs).send(sqs.logQueueUrl, messages);
    if (failed.length > 0) throw new Error(`SQS did not take ${failed.length} messages`);
  } catch (error) {
    logger.warning("publish_failed", { logs: keys.length, reason: reasonOf(error) });
  }
}
