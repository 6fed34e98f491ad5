import type { Context } from "hono";
import { connectSqs } from "../../aws/sqs.ts";
import { indexMessagesFor } from "../../events/messages.ts";
import { reasonOf } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { wakePoller } from "../wake-poller.ts";

/**
 * After the answer: tells the indexer of new logs. Nothing depends on it: what is not sent here is sent
 * by the outbox sweep.
 */
export function publishLogs(c: Context<AppEnv>, tenantId: string, logIds: readonly string[]): void {
  c.executionCtx.waitUntil(tellIndexer(c, tenantId, logIds));
}

/** The same, for what is itself done after the answer. */
export async function tellIndexer(
  c: Context<AppEnv>,
  tenantId: string,
  logIds: readonly string[],
): Promise<void> {
  const { config, logger, requestId } = c.var;
  const { search, sqs } = config.sections;
  // Without OpenSearch no one reads the queue; the outbox keeps the logs until there is one.
  if (!search || !sqs) return;
  const send = async (): Promise<void> => {
    const messages = indexMessagesFor(tenantId, logIds, requestId);
    const failed = await connectSqs(sqs).send(sqs.logQueueUrl, messages);
    if (failed.length > 0) throw new Error(`SQS did not take ${failed.length} messages`);
  };
  for (const step of [send, () => wakePoller(c, "LOG_POLLER")]) {
    try {
      await step();
    } catch (error) {
      logger.warning("publish_failed", {
        tenant_id: tenantId,
        logs: logIds.length,
        reason: reasonOf(error),
      });
    }
  }
}
