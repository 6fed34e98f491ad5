import type { Sqs } from "../../aws/sqs.ts";
import { parseExportMessage, parseIndexMessage } from "../../events/messages.ts";
import { requireSection } from "../../platform/config.ts";
import type { Check } from "./check.ts";
import type { World } from "./world.ts";

/**
 * What must not be left when all is over.
 *
 * @returns besides the checks how many uploads are open that no call ever named: the answer with their id
 *   was lost, or their exporter was killed before it could note it. Only a lifecycle rule ends those
 */
export async function checkLeftOver(
  world: World,
  poisoned: ReadonlySet<string>,
  failedExports: ReadonlySet<string>,
): Promise<{ checks: Check[]; orphanedUploads: number }> {
  const { database, sqs, queues, uploadWatch, direct } = world;
  const { rows: pending } = await database.query<{ log_id: string }>(
    "select log_id from pending_index",
  );
  const { rows: unsearchable } = await database.query<{ log_id: string }>(
    "select log_id from index_failures",
  );
  const failures = unsearchable.map((row) => row.log_id);
  const letters: string[] = [];
  const buried = new Set<string>();
  const logLetters = await drain(sqs, queues.logs);
  for (const body of logLetters)
    for (const id of parseIndexMessage(body)?.log_ids ?? ["nothing that can be read"]) {
      buried.add(id);
      if (!poisoned.has(id)) letters.push(`a dead letter names ${id}, which is not poisoned`);
    }
  const { rows: cancelled } = await database.query<{ id: string }>(
    "select id from export_pipelines where status = 'CANCELLED'",
  );
  // One that was cancelled may have failed before.
  const ended = new Set([...failedExports, ...cancelled.map(({ id }) => id)]);
  for (const body of await drain(sqs, queues.exports)) {
    const id = parseExportMessage(body)?.export_id ?? "";
    if (!ended.has(id)) letters.push(`a dead letter names the export ${id}, which never failed`);
  }
  const recorded = [
    ...failures.filter((id) => !poisoned.has(id)).map((id) => `${id} is recorded, not poisoned`),
    ...[...poisoned].filter((id) => !failures.includes(id)).map((id) => `${id} is not recorded`),
    ...[...poisoned].filter((id) => !buried.has(id)).map((id) => `${id} is in no dead letter`),
  ];
  const open = await uploadWatch.end(requireSection(direct, "s3").endpoint);
  const uploads = open.filter(({ isUsed }) => isUsed);
  const checks = [
    {
      name: "the outbox is empty",
      checked: 1,
      broken: pending.map((row) => `log ${row.log_id} still waits`),
    },
    { name: "only the poisoned are dead letters", checked: logLetters.length, broken: letters },
    {
      name: "every poisoned log is recorded and a dead letter",
      checked: poisoned.size,
      broken: recorded,
    },
    {
      name: "no upload is left open",
      checked: uploadWatch.begun,
      broken: uploads.map(({ id, path }) => `upload ${id} of ${path}`),
    },
  ];
  return { checks, orphanedUploads: open.length - uploads.length };
}

/** The bodies of everything in a queue's dead-letter queue. */
async function drain(sqs: Sqs, queueUrl: string): Promise<string[]> {
  const deadLetters = await sqs.deadLetterQueue(queueUrl);
  if (deadLetters === undefined) throw new Error("The queue has no dead-letter queue.");
  const bodies: string[] = [];
  while ((await sqs.depth(deadLetters)).waiting > 0)
    bodies.push(...(await sqs.receive(deadLetters, 600)).map(({ body }) => body));
  return bodies;
}
