import type { Sqs } from "../../aws/sqs.ts";
import type { Database } from "../../db/client.ts";
import { leaseOverdue, type OutboxKey } from "../../db/outbox.ts";
import { indexMessagesFor, type MessageToSend } from "../../events/messages.ts";

const logsPerLease = 1_000;
/** One sweep sends at most this many: what is left is overdue still, a minute later. */
const maxLeases = 20;
/** While the queue has messages, a row most likely waits for its own: only what waits far longer is sent. */
const busyGraceSeconds = 600;

/**
 * Sends again what has waited in the outbox for too long: its message was never sent, was lost, or could
 * not be indexed. Sending once too often does no harm.
 *
 * @returns how many logs were sent
 */
export async function sweepOutbox(db: Database, sqs: Sqs, queueUrl: string): Promise<number> {
  const { waiting } = await sqs.depth(queueUrl);
  const graceSeconds = waiting > 0 ? busyGraceSeconds : 0;
  let sent = 0;
  for (let lease = 0; lease < maxLeases; lease++) {
    const keys = await leaseOverdue(db, logsPerLease, graceSeconds);
    if (keys.length > 0) await sqs.send(queueUrl, messagesOf(keys));
    sent += keys.length;
    if (keys.length < logsPerLease) break;
  }
  return sent;
}

function messagesOf(keys: OutboxKey[]): MessageToSend[] {
  return [...Map.groupBy(keys, (key) => key.tenantId)].flatMap(([tenantId, rows]) =>
    indexMessagesFor(
      tenantId,
      rows.map((row) => row.logId),
      "sweep",
    ),
  );
}
