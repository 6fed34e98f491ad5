import { createHash } from "node:crypto";
import { parseExportMessage, parseIndexMessage } from "./messages.ts";

export const deadLetterQueues = ["log", "export"] as const;
export type DeadLetterQueue = (typeof deadLetterQueues)[number];

/** What a dead message asks for; `tenantId` is null where it is no message of this service. */
export type DeadWork = {
  tenantId: string | null;
  logIds: string[];
  exportId: string | null;
  requestId: string | null;
};

/** A name for a message that is the same each time it fails: a UUID (version 8, RFC 9562) of queue and body. */
export function deadLetterId(queue: DeadLetterQueue, body: string): string {
  const hex = createHash("sha256").update(`${queue}\n${body}`).digest("hex");
  const parts = [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ];
  return parts.join("-");
}

export function deadWork(queue: DeadLetterQueue, body: string): DeadWork {
  const none = { tenantId: null, logIds: [], exportId: null, requestId: null };
  if (queue === "log") {
    const message = parseIndexMessage(body);
    if (!message) return none;
    return {
      ...none,
      tenantId: message.tenant_id,
      logIds: message.log_ids,
      requestId: message.request_id,
    };
  }
  const message = parseExportMessage(body);
  if (!message) return none;
  return {
    ...none,
    tenantId: message.tenant_id,
    exportId: message.export_id,
    requestId: message.request_id,
  };
}
