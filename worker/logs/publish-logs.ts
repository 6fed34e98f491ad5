import type { Context } from "hono";
import { indexMessagesFor } from "../../events/messages.ts";
import type { AppEnv } from "../env.ts";
import { sendAndWake } from "../send-and-wake.ts";

/** After the answer: tells the indexer of new logs. */
export function publishLogs(c: Context<AppEnv>, tenantId: string, logIds: readonly string[]): void {
  c.executionCtx.waitUntil(tellIndexer(c, tenantId, logIds));
}

/** The same, for what is itself done after the answer. */
export async function tellIndexer(
  c: Context<AppEnv>,
  tenantId: string,
  logIds: readonly string[],
): Promise<void> {
  // Without OpenSearch no one reads the queue; the outbox keeps the logs until there is one.
  if (!c.var.config.sections.search) return;
  const messages = indexMessagesFor(tenantId, logIds, c.var.requestId);
  await sendAndWake(c, "log", messages, { tenant_id: tenantId, logs: logIds.length });
}
