import type { Sqs } from "../../aws/sqs.ts";
import type { Database } from "../../db/client.ts";
import { leaseOverdueExports } from "../../db/export-sweep.ts";
import { exportMessageFor } from "../../events/messages.ts";

const exportsPerSweep = 100;
/** While the queue has messages, an export most likely waits for its own. */
const busyGraceSeconds = 600;

/**
 * Sends a message again for each export that is not over and that no one works on. Sending once too often
 * does no harm: one exporter at a time can claim it.
 *
 * @returns how many exports were sent
 */
export async function sweepExports(db: Database, sqs: Sqs, queueUrl: string): Promise<number> {
  const { waiting } = await sqs.depth(queueUrl);
  const found = await leaseOverdueExports(db, exportsPerSweep, waiting > 0 ? busyGraceSeconds : 0);
  const messages = found.map(({ tenantId, id }) => exportMessageFor(tenantId, id, "sweep"));
  if (messages.length > 0) await sqs.send(queueUrl, messages);
  return messages.length;
}
