import type { Context } from "hono";
import type { OutboxKey } from "../../db/outbox.ts";
import { indexMessagesFor, type MessageToSend } from "../../events/messages.ts";
import type { LogFields } from "../../platform/logger.ts";
import type { AppEnv } from "../env.ts";
import { sendAndWake } from "../send-and-wake.ts";

/** After the answer: tells the indexer of new logs. */
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
  // Without OpenSearch no one reads the queue; the outbox keeps the logs until there is one.
  if (c.var.config.sections.search) await sendAndWake(c, "log", messages, fields);
}
