import type { Context } from "hono";
import { connectSqs } from "../../aws/sqs.ts";
import type { OutboxKey } from "../../db/outbox.ts";
import { indexMessagesFor, type MessageToSend } from "../../events/messages.ts";
import { reasonOf } from "../../platform/errors.ts";
import type { LogFields } from "../../platform/logger.ts";
import type { AppEnv } from "../env.ts";
import { wakePoller } from "../wake-poller.ts";

/**
 * After the answer: tells the indexer of new logs. Nothing depends on it: what is not sent here is sent
 * by the outbox sweep.
 */
export function publishLogs(c: Context<AppEnv>, tenantId: string, logIds: readonly string[]): void {
  c.executionCtx.waitUntil(tellIndexer(c, tenantId, logIds));
}

/** The same, for logs of many tenants. */
export function publishAll(c: Context<AppEnv>, keys: readonly OutboxKey[]): void {
  if (keys.length === 0) return;
  const messages = keys.flatMap(({ tenantId, logId }) =>
    indexMessagesFor(tenantId, [logId], c.var.requestId),
  );
  c.executionCtx.waitUntil(send(c, messages, { logs: keys.length }));
}

/** As publishLogs, for what is itself done after the answer. */
export async function tellIndexer(
  c: Context<AppEnv>,
  tenantId: string,
  logIds: readonly string[],
): Promise<void> {
  const messages = indexMessagesFor(tenantId, logIds, c.var.requestId);
  await send(c, messages, { tenant_id: tenantId, logs: logIds.length });
}

async function send(
  c: Context<AppEnv>,
  messages: readonly MessageToSend[],
  fields: LogFields,
): Promise<void> {
  const { config, logger } = c.var;
  const { search, sqs } = config.sections;
  // Without OpenSearch no one reads the queue; the outbox keeps the logs until there is one.
  if (!search || !sqs) return;
  const sendAll = async (): Promise<void> => {
    const failed = await connectSqs(sqs).send(sqs.logQueueUrl, messages);
    if (failed.length > 0) throw new Error(`SQS did not take ${failed.length} messages`);
  };
  for (const step of [sendAll, () => wakePoller(c, "LOG_POLLER")]) {
    try {
      await step();
    } catch (error) {
      logger.warning("publish_failed", { ...fields, reason: reasonOf(error) });
    }
  }
}
