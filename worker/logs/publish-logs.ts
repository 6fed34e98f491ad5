import type { Context } from "hono";
import { connectSqs } from "../../aws/sqs.ts";
import { indexMessagesFor } from "../../events/messages.ts";
import { reasonOf } from "../../platform/errors.ts";
import { firstPoller } from "../../platform/poller-names.ts";
import type { AppEnv } from "../env.ts";

/** A woken poller polls for a minute at least, so that waking it this often is enough. */
const wakeEveryMs = 10_000;
let lastWake = 0;

/**
 * After the answer: tells the indexer of new logs. Nothing depends on it: what is not sent here is sent
 * by the outbox sweep.
 */
export function publishLogs(c: Context<AppEnv>, tenantId: string, logIds: readonly string[]): void {
  c.executionCtx.waitUntil(publish(c, tenantId, logIds));
}

async function publish(
  c: Context<AppEnv>,
  tenantId: string,
  logIds: readonly string[],
): Promise<void> {
  const { config, logger, requestId } = c.var;
  const { search, sqs } = config.sections;
  // Without OpenSearch no one reads the queue; the outbox keeps the logs until there is one.
  if (!search || !sqs) return;
  try {
    const failed = await connectSqs(sqs).send(
      sqs.logQueueUrl,
      indexMessagesFor(tenantId, logIds, requestId),
    );
    if (failed.length > 0) throw new Error(`SQS did not take ${failed.length} messages`);
    if (Date.now() - lastWake < wakeEveryMs) return;
    lastWake = Date.now();
    await c.env.LOG_POLLER.getByName(firstPoller).wake();
  } catch (error) {
    lastWake = 0;
    logger.warning("publish_failed", {
      tenant_id: tenantId,
      logs: logIds.length,
      reason: reasonOf(error),
    });
  }
}
