import type { Sqs } from "../../aws/sqs.ts";
import { parseExportMessage, parseIndexMessage } from "../../events/messages.ts";
import { requireSection } from "../../platform/config.ts";
import { listBucket } from "../tools/strict-bucket.ts";
import type { Check } from "./check.ts";
import type { World } from "./world.ts";

/** What must not be left when all is over. */
export async function checkLeftOver(
  world: World,
  poisoned: ReadonlySet<string>,
  failedExports: ReadonlySet<string>,
): Promise<Check[]> {
  const { database, sqs, queues, direct } = world;
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
  const bucket = await listBucket(requireSection(direct, "s3"));
  const { rows: exports } = await database.query<{ id: string; status: string }>(
    "select id, status from export_pipelines",
  );
  // One that failed may be retried from its checkpoint, and keeps its upload.
  const statusOf = new Map(exports.map(({ id, status }) => [id, status]));
  const exportOf = (key: string) => statusOf.get(key.split("/")[1] ?? "");
  const uploads = bucket.uploads.filter((key) => exportOf(key) !== "FAILED");
  const objects = bucket.objects.filter(
    (key) => exportOf(key) !== "FAILED" && (exportOf(key) !== "DONE" || key.endsWith(".tail")),
  );
  return [
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
      checked: exports.length,
      broken: uploads.map((key) => `an upload of ${key} (${exportOf(key)})`),
    },
    {
      name: "the bucket has nothing but files and manifests of DONE exports",
      checked: bucket.objects.length,
      broken: objects.map((key) => `${key} (${exportOf(key)})`),
    },
  ];
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
