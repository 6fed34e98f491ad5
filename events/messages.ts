import { createHash } from "node:crypto";
import { z } from "zod";

const logsPerMessage = 100;

/** What SQS_LOG_QUEUE_URL carries: a claim check. The logs themselves never leave Postgres this way. */
const indexMessage = z.strictObject({
  v: z.literal(1),
  type: z.literal("index"),
  tenant_id: z.string().min(1),
  log_ids: z.array(z.uuid()).min(1).max(logsPerMessage),
  request_id: z.string().max(128),
});

/** What SQS_EXPORT_QUEUE_URL carries. */
const exportMessage = z.strictObject({
  v: z.literal(1),
  type: z.literal("export"),
  tenant_id: z.string().min(1),
  export_id: z.uuid(),
  request_id: z.string().max(128),
});

export type IndexMessage = z.infer<typeof indexMessage>;
export type ExportMessage = z.infer<typeof exportMessage>;

/**
 * A message ready to send: its text, the group by which SQS is fair between tenants, and how many seconds
 * it waits before it can be received.
 */
export type MessageToSend = { body: string; groupId: string; delaySeconds?: number };

/** The messages that ask for logs of one tenant to be indexed. */
export function indexMessagesFor(
  tenantId: string,
  logIds: readonly string[],
  requestId: string,
): MessageToSend[] {
  const messages: MessageToSend[] = [];
  for (let at = 0; at < logIds.length; at += logsPerMessage) {
    const ids = logIds.slice(at, at + logsPerMessage);
    const message: IndexMessage = {
      v: 1,
      type: "index",
      tenant_id: tenantId,
      log_ids: ids,
      request_id: requestId,
    };
    messages.push({ body: asciiJson(message), groupId: messageGroup(tenantId) });
  }
  return messages;
}

/** The message that asks for work on an export to begin or to go on. */
export function exportMessageFor(
  tenantId: string,
  exportId: string,
  requestId: string,
  delaySeconds = 0,
): MessageToSend {
  const message: ExportMessage = {
    v: 1,
    type: "export",
    tenant_id: tenantId,
    export_id: exportId,
    request_id: requestId,
  };
  return { body: asciiJson(message), groupId: messageGroup(tenantId), delaySeconds };
}

/** @returns undefined for what is no such message: it belongs in the dead-letter queue. */
export function parseIndexMessage(body: string): IndexMessage | undefined {
  return parseMessage(indexMessage, body);
}

/** As parseIndexMessage. */
export function parseExportMessage(body: string): ExportMessage | undefined {
  return parseMessage(exportMessage, body);
}

function parseMessage<T>(schema: z.ZodType<T>, body: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(body)).data;
  } catch {
    return undefined;
  }
}

/** SQS refuses some characters that a tenant's id may have; as escapes none of them stands in the body. */
export function asciiJson(value: object): string {
  return JSON.stringify(value).replaceAll(
    /[^\x20-\x7E]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A tenant's id where SQS takes it as a MessageGroupId (128 letters, digits and signs), else its digest. */
function messageGroup(tenantId: string): string {
  if (/^[\w!-/:-@[-`{-~]{1,128}$/.test(tenantId)) return tenantId;
  return createHash("sha256").update(tenantId).digest("hex");
}
