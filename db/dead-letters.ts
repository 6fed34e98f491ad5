import { and, count, desc, eq, inArray, isNull, notInArray, sql, type SQL } from "drizzle-orm";
import { z } from "zod";
import { deadLetterId, type DeadLetterQueue, deadWork } from "../events/dead-letter.ts";
import { asRole, type Database } from "./client.ts";
import { deadLetters } from "./schema.ts";

export type DeadLetterRow = typeof deadLetters.$inferSelect;

/** A message that cannot be processed, as it lies in the dead-letter queue or is about to. */
export type DeadMessage = {
  messageId: string;
  body: string;
  reason: string;
  receiveCount: number;
  /** Milliseconds since 1970; now where it is not known. */
  firstFailedAt?: number | undefined;
};

/** Who writes dead letters down: each consumer those of its own queue, the operations endpoints any. */
const roleOf = { log: "audit_indexer", export: "audit_exporter" } as const;

/**
 * Writes down, before a message leaves its queue, why it goes to the dead-letter queue. One that was
 * redriven and fails again is dead again.
 */
export async function recordDeadLetters(
  db: Database,
  queue: DeadLetterQueue,
  messages: readonly DeadMessage[],
): Promise<void> {
  if (messages.length === 0) return;
  const again = sql`
    update set message_id = excluded.message_id, reason = excluded.reason, last_failed_at = clock_timestamp(),
      receive_count = excluded.receive_count, failures = dead_letters.failures + 1, redriven_at = null`;
  await asRole(db, roleOf[queue], [db.execute(insertLetters(queue, messages, again))]);
}

/**
 * Writes down messages that were found in a dead-letter queue: SQS moved them there by itself. What is
 * known of one already is kept; of an export, and of logs that the index refused, the database may know
 * the reason better.
 */
export async function recordFoundLetters(
  db: Database,
  queue: DeadLetterQueue,
  messages: readonly DeadMessage[],
): Promise<void> {
  if (messages.length === 0) return;
  const again = sql`
    update set message_id = excluded.message_id, redriven_at = null where dead_letters.redriven_at is not null`;
  await asRole(db, "audit_operator", [db.execute(insertLetters(queue, messages, again))]);
}

function insertLetters(queue: DeadLetterQueue, messages: readonly DeadMessage[], again: SQL): SQL {
  const letters = new Map(
    messages.map((message) => {
      const id = deadLetterId(queue, message.body);
      return [id, { ...message, ...deadWork(queue, message.body), id }];
    }),
  );
  // A consumer's role may not see what other roles know.
  return sql`
    insert into dead_letters (
      id, queue, message_id, body, reason, tenant_id, log_ids, export_id, request_id, receive_count, first_failed_at
    )
    select
      id, ${queue}, "messageId", body, reason, "tenantId", "logIds", "exportId", "requestId", "receiveCount",
      least(coalesce(to_timestamp("firstFailedAt" / 1000.0), clock_timestamp()), clock_timestamp())
    from json_to_recordset(${JSON.stringify([...letters.values()])}::json) as found (
      id uuid, "messageId" text, body text, reason text, "tenantId" text, "logIds" uuid[], "exportId" uuid,
      "requestId" text, "receiveCount" integer, "firstFailedAt" bigint
    )
    on conflict (id) do ${again}`;
}

const known = z.array(z.object({ id: z.string(), redriven_ms: z.coerce.number().nullable() }));
const reasons = z.array(z.object({ id: z.string(), reason: z.string() }));

/** What the database knows of messages: when one was sent back last, and why the work that it asks for failed. */
export async function lookUpLetters(
  db: Database,
  queue: DeadLetterQueue,
  bodies: readonly string[],
): Promise<{ redrivenAt: Map<string, number>; reasons: Map<string, string> }> {
  const works = bodies.map((body) => ({ id: deadLetterId(queue, body), ...deadWork(queue, body) }));
  const [letters, failures] = await asRole(db, "audit_operator", [
    db.execute(sql`
      select id, floor(extract(epoch from redriven_at) * 1000) as redriven_ms from dead_letters
      where id = any(${sql.param(works.map(({ id }) => id))}::uuid[]) and redriven_at is not null`),
    db.execute(sql`
      select work.id, coalesce(export_pipelines.error_message, min(index_failures.reason)) as reason
      from json_to_recordset(${JSON.stringify(works)}::json) as work (
        id uuid, "tenantId" text, "logIds" uuid[], "exportId" uuid
      )
      left join export_pipelines
        on export_pipelines.tenant_id = work."tenantId" and export_pipelines.id = work."exportId"
      left join index_failures
        on index_failures.tenant_id = work."tenantId" and index_failures.log_id = any(work."logIds")
      group by work.id, export_pipelines.error_message
      having coalesce(export_pipelines.error_message, min(index_failures.reason)) is not null`),
  ]);
  return {
    redrivenAt: new Map(known.parse(letters.rows).map((row) => [row.id, row.redriven_ms ?? 0])),
    reasons: new Map(reasons.parse(failures.rows).map((row) => [row.id, row.reason])),
  };
}

const orphans = z.array(
  z.object({ tenant_id: z.string(), log_id: z.string(), reason: z.string() }),
);

/**
 * Logs that the index refused and that no dead letter names: the indexer was cut off before it could bury
 * the message, or did so before there was this table.
 */
export async function readOrphanedFailures(
  db: Database,
  limit: number,
): Promise<{ tenantId: string; logId: string; reason: string }[]> {
  const [result] = await asRole(db, "audit_operator", [
    db.execute(sql`
      select tenant_id, log_id, reason from index_failures
      where failed_at < clock_timestamp() - interval '1 minute'
        and log_id not in (
          select unnest(log_ids) from dead_letters where redriven_at is null and queue = 'log'
        )
      order by tenant_id, log_id limit ${limit}`),
  ]);
  return orphans.parse(result.rows).map((row) => ({
    tenantId: row.tenant_id,
    logId: row.log_id,
    reason: row.reason,
  }));
}

const isOpen = isNull(deadLetters.redrivenAt);

/** Dead letters, the newest first: at most `size` of those found before `after`, and how many each queue has. */
export async function listDeadLetters(
  db: Database,
  queue: DeadLetterQueue | undefined,
  after: string | null,
  size: number,
): Promise<{ rows: DeadLetterRow[]; counts: Record<DeadLetterQueue, number> }> {
  const [rows, counts] = await asRole(db, "audit_operator", [
    db
      .select()
      .from(deadLetters)
      .where(
        and(
          isOpen,
          queue && eq(deadLetters.queue, queue),
          after === null
            ? undefined
            : sql`seq < (select seq from dead_letters as last where last.id = ${after}::uuid)`,
        ),
      )
      .orderBy(desc(deadLetters.seq))
      .limit(size),
    countOpen(db),
  ]);
  return { rows, counts: countsOf(counts) };
}

const countOpen = (db: Database) =>
  db
    .select({ queue: deadLetters.queue, n: count() })
    .from(deadLetters)
    .where(isOpen)
    .groupBy(deadLetters.queue);

const countsOf = (rows: { queue: DeadLetterQueue; n: number }[]) =>
  ({
    log: 0,
    export: 0,
    ...Object.fromEntries(rows.map(({ queue, n }) => [queue, n])),
  }) as Record<DeadLetterQueue, number>;

/** Open dead letters: those of these ids, or any, the oldest first. */
export async function readOpenLetters(
  db: Database,
  queue: DeadLetterQueue,
  ids: readonly string[] | undefined,
  limit: number,
): Promise<DeadLetterRow[]> {
  const query = db
    .select()
    .from(deadLetters)
    .where(and(isOpen, eq(deadLetters.queue, queue), ids && inArray(deadLetters.id, [...ids])))
    .orderBy(deadLetters.seq)
    .limit(limit);
  const [rows] = await asRole(db, "audit_operator", [query]);
  return rows;
}

/**
 * Forgets messages that name no work and are in the dead-letter queue no more: someone deleted them, and
 * nothing else can come of them. One that was only out of sight is found again, and dead again.
 */
export const forgetVanished = (
  db: Database,
  queue: DeadLetterQueue,
  bodiesThere: readonly string[],
) =>
  asRole(db, "audit_operator", [
    db
      .update(deadLetters)
      .set({ redrivenAt: sql`clock_timestamp()` })
      .where(
        and(
          isOpen,
          eq(deadLetters.queue, queue),
          isNull(deadLetters.tenantId),
          sql`last_failed_at < clock_timestamp() - interval '1 minute'`,
          notInArray(
            deadLetters.id,
            bodiesThere.map((body) => deadLetterId(queue, body)),
          ),
        ),
      ),
  ]);

/** How many are dead, and forgets what was redriven long ago. */
export async function countDeadLetters(db: Database): Promise<Record<DeadLetterQueue, number>> {
  const [counts] = await asRole(db, "audit_operator", [
    countOpen(db),
    db.execute(
      sql`delete from dead_letters where redriven_at < clock_timestamp() - interval '90 days'`,
    ),
  ]);
  return countsOf(counts);
}
