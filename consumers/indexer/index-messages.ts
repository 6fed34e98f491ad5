import type { Client } from "@opensearch-project/opensearch";
import type { ReceivedMessage } from "../../aws/sqs.ts";
import type { Database } from "../../db/client.ts";
import {
  deleteOutboxRows,
  type OutboxKey,
  type OutboxRow,
  readPendingLogs,
  recordIndexFailure,
} from "../../db/outbox.ts";
import { asciiJson, type IndexMessage, parseIndexMessage } from "../../events/messages.ts";
import { hopTimes } from "../../platform/hop-times.ts";
import type { Logger } from "../../platform/logger.ts";
import { aliasesOf, indexLogs, type IndexOutcome } from "../../search/index-logs.ts";
import type { Handled, Outcome } from "../poll-queue.ts";
import type { Refresher } from "./refresher.ts";

type Tools = { db: Database; search: Client; refresher: Refresher; logger: Logger };
type Parsed = { message: ReceivedMessage; content: IndexMessage };

/** A message that has come this often is left to the sweep, before its count takes it to the dead-letter queue. */
const lastReceive = 4;

/**
 * Indexes the logs that messages name: one SELECT and one _bulk for all of them, unless they are very
 * large. A log that is no longer in the outbox is searchable already, so a repeated message does nothing.
 *
 * @throws when Postgres or OpenSearch as a whole does not answer: the messages come again
 */
export async function indexMessages(
  messages: readonly ReceivedMessage[],
  tools: Tools,
): Promise<Handled> {
  const began = Date.now();
  const parsed: Parsed[] = [];
  const unreadable: Outcome[] = [];
  for (const message of messages) {
    const content = parseIndexMessage(message.body);
    if (content) parsed.push({ message, content });
    else
      unreadable.push({
        message,
        to: "dead-letter",
        body: message.body,
        reason: "not an index message",
      });
  }
  const indexed = await indexAll(parsed, tools);
  return {
    outcomes: settle(parsed, indexed, began, tools).then((outcomes) => [
      ...outcomes,
      ...unreadable,
    ]),
  };
}

type Failures = Map<string, Exclude<IndexOutcome, { status: "indexed" }> & { row: OutboxRow }>;

/** `rows` are searchable once `aliases` were refreshed. */
type Indexed = { rows: OutboxRow[]; aliases: Set<string>; failed: Failures };

async function indexAll(parsed: Parsed[], tools: Tools): Promise<Indexed> {
  let wanted = new Map<string, OutboxKey>();
  for (const { content } of parsed) {
    for (const logId of content.log_ids) wanted.set(logId, { tenantId: content.tenant_id, logId });
  }
  const rows: OutboxRow[] = [];
  const aliases = new Set<string>();
  const failed: Failures = new Map();
  while (wanted.size > 0) {
    const logs = await readPendingLogs(tools.db, [...wanted.values()]);
    if (logs.length === 0) break;
    const outcomes = new Map(
      (await indexLogs(tools.search, logs)).map((outcome) => [outcome.id, outcome]),
    );
    for (const log of logs) {
      const row = { tenantId: log.tenant_id, logId: log.id, rev: log.rev };
      const outcome = outcomes.get(log.id) ?? {
        id: log.id,
        status: "retry",
        reason: "missing in the answer",
      };
      if (outcome.status !== "indexed") {
        failed.set(log.id, { ...outcome, row });
        continue;
      }
      rows.push(row);
      for (const alias of aliasesOf(log)) aliases.add(alias);
    }
    // Logs come in id order: what is left begins after the last one.
    const lastId = logs.at(-1)?.id ?? "";
    wanted = new Map([...wanted].filter(([id]) => id > lastId));
  }
  return { rows, aliases, failed };
}

async function settle(
  parsed: Parsed[],
  { rows, aliases, failed }: Indexed,
  began: number,
  { db, refresher, logger }: Tools,
): Promise<Outcome[]> {
  const indexedMs = Date.now() - began;
  if (rows.length > 0) {
    await refresher.refreshed(aliases);
    await deleteOutboxRows(db, rows);
  }
  const poisoned = [...failed.values()].filter((outcome) => outcome.status === "poisoned");
  for (const { row, reason } of poisoned) await recordIndexFailure(db, row, reason);
  for (const { message, content } of parsed) {
    logger.info("indexed", {
      request_id: content.request_id,
      tenant_id: content.tenant_id,
      message_id: message.messageId,
      logs: content.log_ids.length,
      failed: content.log_ids.filter((id) => failed.has(id)).length,
      receive_count: message.receiveCount,
      ...(message.sentAt === undefined ? {} : { queue_ms: Math.max(0, began - message.sentAt) }),
      index_ms: indexedMs,
      searchable_ms: Date.now() - began,
      ...hopTimes(),
    });
  }
  return parsed.map((one) => outcomeOf(one, failed));
}

function outcomeOf({ message, content }: Parsed, failed: Failures): Outcome {
  const failures = content.log_ids.flatMap((id) => failed.get(id) ?? []);
  const poisoned = failures.filter((failure) => failure.status === "poisoned");
  if (poisoned.length > 0) {
    // Only the poisoned ids go to the dead-letter queue; the others that failed are left to the sweep.
    const body = asciiJson({ ...content, log_ids: poisoned.map((failure) => failure.id) });
    return { message, to: "dead-letter", body, reason: poisoned[0]?.reason ?? "" };
  }
  if (failures.length === 0 || message.receiveCount >= lastReceive)
    return { message, to: "delete" };
  return {
    message,
    to: "retry",
    delaySeconds: 2 ** message.receiveCount + Math.floor(Math.random() * 5),
  };
}
