import { sql } from "drizzle-orm";
import { z } from "zod";
import { idTime } from "../events/ids.ts";
import { asRole, type Database } from "./client.ts";

/** What OpenSearch is to lose of a tenant: everything up to an id, inclusive. */
export type IndexRemoval = {
  tenantId: string;
  throughId: string;
  /** When Postgres last lost more, as Postgres has it. */
  raisedAt: string;
  /** How long before this was read. */
  secondsSinceRaised: number;
};

const row = z
  .object({
    tenant_id: z.string(),
    through_id: z.string(),
    raised: z.string(),
    age: z.coerce.number(),
  })
  .transform((found): IndexRemoval => ({
    tenantId: found.tenant_id,
    throughId: found.through_id,
    raisedAt: found.raised,
    secondsSinceRaised: found.age,
  }));

/** The removal that has waited longest of those that are due. */
export async function nextRemoval(db: Database): Promise<IndexRemoval | undefined> {
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      select tenant_id, through_id, raised_at::text as raised,
        extract(epoch from clock_timestamp() - raised_at) as age
      from index_removals where due_at <= clock_timestamp() order by due_at limit 1`),
  ]);
  return z.array(row).parse(result.rows)[0];
}

/**
 * So long after Postgres has lost a log, an indexer that had read it before may still write it: a batch that
 * waits for OpenSearch, or a page of a reindex.
 */
export const lateWriteSeconds = 300;

/**
 * Keeps what a pass over the index came to. The removal is forgotten when a pass that began long enough after
 * it found nothing; else the index is asked again.
 *
 * @param pass `isWhole`: nothing of it was left
 */
export async function settleRemoval(
  db: Database,
  { tenantId, raisedAt, secondsSinceRaised }: IndexRemoval,
  pass: { removed: number; isWhole: boolean },
): Promise<void> {
  const isIt = sql`tenant_id = ${tenantId} and raised_at = ${raisedAt}::timestamptz`;
  const isOver = pass.isWhole && pass.removed === 0 && secondsSinceRaised >= lateWriteSeconds;
  await asRole(db, "audit_maintenance", [
    db.execute(
      isOver
        ? sql`delete from index_removals where ${isIt}`
        : sql`
          update index_removals set
            waiting_since = case when ${pass.isWhole} then null else waiting_since end,
            due_at = clock_timestamp() + make_interval(secs => ${pass.isWhole ? lateWriteSeconds : 0})
          where ${isIt}`,
    ),
  ]);
}

/** Lets the others have their turn before one that failed. */
export async function postponeRemoval(db: Database, { tenantId }: IndexRemoval): Promise<void> {
  await asRole(db, "audit_maintenance", [
    db.execute(sql`
      update index_removals set due_at = clock_timestamp() + interval '1 minute'
      where tenant_id = ${tenantId}`),
  ]);
}

const leavingRow = z.object({ tenant_id: z.string(), through_id: z.string() });

/** The time up to which the index may still have what Postgres has lost, in milliseconds since 1970, by tenant. */
export async function readLeaving(
  db: Database,
  tenantIds: readonly string[],
): Promise<Map<string, number>> {
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      select tenant_id, through_id from index_removals
      where tenant_id = any(${sql.param([...tenantIds])}::text[])`),
  ]);
  const rows = z.array(leavingRow).parse(result.rows);
  return new Map(rows.map((found) => [found.tenant_id, idTime(found.through_id)]));
}
