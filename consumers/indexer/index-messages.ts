import type { Client } from "@opensearch-project/opensearch";
import { queuedMs, type ReceivedMessage } from "../../aws/sqs.ts";
import type { Database } from "../../db/client.ts";
import {
  deleteOutboxRows,
  type OutboxKey,
  type OutboxRow,
  type PendingLog,
  readIndexFailures,
  readPendingLogs,
  recordIndexFailure,
} from "../../db/outbox.ts";
import { repeatable } from "../../db/repeatable.ts";
import { asciiJson, type IndexMessage, parseIndexMessage } from "../../events/messages.ts";
import { hopTimes } from "../../platform/hop-times.ts";
import type { Logger } from "../../platform/logger.ts";
import { type RetryPolicy, withRetries } from "../../platform/retry.ts";
import { aliasesOf, indexLogs, type IndexOutcome } from "../../search/index-logs.ts";
import { isPassingSearchError, searchRetryAfterMs } from "../../search/passing-errors.ts";
import type { Handled } from "../poll-queue.ts";
import { lastReceive, type Outcome } from "../settle-messages.ts";
import type { Refresher } from "./refresher.ts";

type Tools = {
  db: Database;
  search: Client;
  refresher: Refresher;
  logger: Logger;
  /** See readForMs. */
  readForMs?: number | undefined;
};
type Parsed = { message: ReceivedMessage; content: IndexMessage };

/**
 * What ten messages name can be 40 MiB, and the words of large logs are what takes OpenSearch the longest. What
 * is not come to in this time is left to a later receive, while the messages are still invisible to others.
 */
const readForMs = 45_000;

/** A bulk that took longer counts against OpenSearch. */
const slowBulkMs = 10_000;

/**
 * For OpenSearch as a whole, where it may be over in a moment: a bulk and a refresh may be repeated. With
 * a last try of 30 s both still end while the messages are invisible.
 */
export const searchRetries: RetryPolicy = {
  isPassing: isPassingSearchError,
  retryAfterMs: searchRetryAfterMs,
  tries: 3,
  firstMs: 250,
  capMs: 2_000,
  deadlineMs: 10_000,
};

/**
 * Indexes the logs that messages name: one SELECT and one _bulk for all of them, unless they are very
 * large. A log that is no longer in the outbox is searchable already, so a repeated message does nothing,
 * and one that was broken off goes on from there. When Postgres or OpenSearch as a whole does not answer,
 * the messages are given back.
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
  const giveBack = (error: unknown) => [
    ...unreadable,
    ...parsed.map(({ message }): Outcome => ({ message, to: "give-back", error })),
  ];
  const work = await indexAll(parsed, tools);
  const outcomes = settle(parsed, work, began, tools);
  return {
    outcomes: outcomes.then((settled) => [...settled, ...unreadable], giveBack),
    isSlow: work.slowestBulkMs > slowBulkMs,
  };
}

type Failures = Map<string, Exclude<IndexOutcome, { status: "indexed" }> & { row: OutboxRow }>;

type Work = {
  /** For each read of logs: resolves when its logs are searchable, and have left the outbox. */
  cleared: Promise<void>[];
  failed: Failures;
  /** Logs that there was no time for. */
  left: ReadonlyMap<string, OutboxKey>;
  /** What ended the work before all was indexed. */
  failure: { error: unknown } | undefined;
  readMs: number;
  bulkMs: number;
  slowestBulkMs: number;
};

async function indexAll(parsed: Parsed[], tools: Tools): Promise<Work> {
  const deadline = Date.now() + (tools.readForMs ?? readForMs);
  let wanted = new Map<string, OutboxKey>();
  for (const { content } of parsed) {
    for (const logId of content.log_ids) wanted.set(logId, { tenantId: content.tenant_id, logId });
  }
  const cleared: Promise<void>[] = [];
  const failed: Failures = new Map();
  let failure: Work["failure"];
  let [readMs, bulkMs, slowestBulkMs] = [0, 0, 0];
  try {
    // At least one _bulk, or a message would come again for ever.
    for (let n = 0; wanted.size > 0 && (n === 0 || Date.now() < deadline); n++) {
      const began = Date.now();
      const logs = await repeatable(() => readPendingLogs(tools.db, [...wanted.values()]));
      const read = Date.now();
      readMs += read - began;
      // Logs come in id order: what is left begins after the last one.
      const lastId = logs.at(-1)?.id;
      wanted = new Map([...wanted].filter(([id]) => lastId !== undefined && id > lastId));
      if (logs.length === 0) break;
      const indexed = await withRetries(searchRetries, () => indexLogs(tools.search, logs));
      const tookMs = Date.now() - read;
      bulkMs += tookMs;
      slowestBulkMs = Math.max(slowestBulkMs, tookMs);
      const done = sortOut(logs, indexed, failed);
      if (done.length === 0) continue;
      const clearing = clear(done.map(outboxRow), done.flatMap(aliasesOf), tools);
      // Awaited at the end, beside the next _bulk: until then its failure is nobody's.
      clearing.catch(() => {});
      cleared.push(clearing);
    }
  } catch (error) {
    failure = { error };
  }
  return { cleared, failed, left: wanted, failure, readMs, bulkMs, slowestBulkMs };
}

/** Returns the logs that the index has, and adds the others to `failed`. */
function sortOut(
  logs: readonly PendingLog[],
  indexed: readonly IndexOutcome[],
  failed: Failures,
): PendingLog[] {
  const outcomes = new Map(indexed.map((outcome) => [outcome.id, outcome]));
  return logs.filter((log) => {
    const outcome = outcomes.get(log.id) ?? {
      id: log.id,
      status: "retry",
      reason: "missing in the answer",
    };
    if (outcome.status === "indexed") return true;
    failed.set(log.id, { ...outcome, row: outboxRow(log) });
    return false;
  });
}

const outboxRow = (log: PendingLog): OutboxRow => ({
  tenantId: log.tenant_id,
  logId: log.id,
  rev: log.rev,
});

/** Only what a search finds may leave the outbox: the tenant's mark goes past it then. */
async function clear(
  rows: readonly OutboxRow[],
  aliases: readonly string[],
  { db, refresher }: Tools,
): Promise<void> {
  await refresher.refreshed(aliases);
  await repeatable(() => deleteOutboxRows(db, rows));
}

async function settle(
  parsed: Parsed[],
  { cleared, failed, left, failure, readMs, bulkMs }: Work,
  began: number,
  { db, logger }: Tools,
): Promise<Outcome[]> {
  const indexed = Date.now();
  await Promise.all(cleared);
  if (failure) throw failure.error;
  const refreshed = Date.now();
  const poisoned = [...failed.values()].filter((outcome) => outcome.status === "poisoned");
  for (const { row, reason } of poisoned)
    await repeatable(() => recordIndexFailure(db, row, reason));
  for (const { message, content } of parsed) {
    logger.info("indexed", {
      request_id: content.request_id,
      tenant_id: content.tenant_id,
      message_id: message.messageId,
      logs: content.log_ids.length,
      failed: content.log_ids.filter((id) => failed.has(id)).length,
      left: content.log_ids.filter((id) => left.has(id)).length,
      receive_count: message.receiveCount,
      queue_ms: queuedMs(message, began),
      read_ms: readMs,
      bulk_ms: bulkMs,
      refresh_ms: refreshed - indexed,
      searchable_ms: Date.now() - began,
      ...hopTimes(),
    });
  }
  return Promise.all(
    parsed.map(async (one) => outcomeOf(one, failed, left, await poisonedBefore(one, db))),
  );
}

type Poisoned = { logId: string; reason: string };

/**
 * A message that comes again may be that of an indexer which had written down what it could not index, and
 * died before it had sent that to the dead-letter queue.
 */
async function poisonedBefore({ message, content }: Parsed, db: Database): Promise<Poisoned[]> {
  if (message.receiveCount === 1) return [];
  return repeatable(() => readIndexFailures(db, content.tenant_id, content.log_ids));
}

function outcomeOf(
  { message, content }: Parsed,
  failed: Failures,
  left: Work["left"],
  before: Poisoned[],
): Outcome {
  const failures = content.log_ids.flatMap((id) => failed.get(id) ?? []);
  const now = failures.filter((failure) => failure.status === "poisoned");
  const poisoned = new Map([
    ...before.map(({ logId, reason }) => [logId, reason] as const),
    ...now.map(({ id, reason }) => [id, reason] as const),
  ]);
  const [first] = poisoned.values();
  if (first !== undefined) {
    // Only the poisoned ids go to the dead-letter queue; the others that failed are left to the sweep.
    const body = asciiJson({ ...content, log_ids: [...poisoned.keys()] });
    return { message, to: "dead-letter", body, reason: first };
  }
  const isDone = failures.length === 0 && !content.log_ids.some((id) => left.has(id));
  if (isDone || message.receiveCount >= lastReceive) return { message, to: "delete" };
  return {
    message,
    to: "retry",
    delaySeconds: 2 ** message.receiveCount + Math.floor(Math.random() * 5),
  };
}
