import { and, asc, eq, exists, getTableColumns, inArray, isNull, lt, or, sql } from "drizzle-orm";
import type { PgUpdateSetSource } from "drizzle-orm/pg-core";
import type { ExportTail } from "../events/export.ts";
import { asExporter, type Database } from "./client.ts";
import type { ExportRow } from "./exports.ts";
import { exportParts, exportPipelines } from "./schema.ts";

/** The right to work on an export: it is lost as soon as another claims it, or it is cancelled. */
export type Claim = { tenantId: string; id: string; fence: number };
export type ExportPart = Omit<typeof exportParts.$inferSelect, "tenantId" | "exportId" | "attempt">;

/** A claim is given up after this long without a sign of life. */
const leaseSeconds = 60;
/** The sweep waits for this long after a lease has run out, or a message was sent. */
const sweepSeconds = 60;

const after = (seconds: number) => sql`clock_timestamp() + make_interval(secs => ${seconds})`;
const held = { leaseUntil: after(leaseSeconds), dueAt: after(leaseSeconds + sweepSeconds) };

/** The export is not the worker's any more: nothing that it does for it counts. */
export class ExportLost extends Error {
  readonly to: "cancel" | "another";

  constructor(to: "cancel" | "another") {
    super(to === "cancel" ? "The export was cancelled." : "Another exporter has the export.");
    this.name = "ExportLost";
    this.to = to;
  }
}

/**
 * Takes an export that no one works on. Of two at once one gets it, and one that held it before and lives
 * still finds its fence outdated at the next checkpoint.
 *
 * @returns the export, and whether it was claimed; undefined where there is none of this id
 */
export async function claimExport(
  db: Database,
  tenantId: string,
  id: string,
): Promise<{ row: ExportRow; isClaimed: boolean } | undefined> {
  const isIt = and(eq(exportPipelines.tenantId, tenantId), eq(exportPipelines.id, id));
  const [claimed, rows] = await asExporter(db, tenantId, [
    db
      .update(exportPipelines)
      .set({
        ...held,
        status: "IN_PROGRESS",
        startedAt: sql`coalesce(started_at, clock_timestamp())`,
        fence: sql`fence + 1`,
        tries: sql`tries + 1`,
      })
      .where(
        and(
          isIt,
          inArray(exportPipelines.status, ["PENDING", "IN_PROGRESS"]),
          or(
            isNull(exportPipelines.leaseUntil),
            lt(exportPipelines.leaseUntil, sql`clock_timestamp()`),
          ),
        ),
      )
      .returning({ fence: exportPipelines.fence }),
    db.select().from(exportPipelines).where(isIt),
  ]);
  return rows[0] && { row: rows[0], isClaimed: claimed.length > 0 };
}

const isMine = (claim: Claim) =>
  and(
    eq(exportPipelines.tenantId, claim.tenantId),
    eq(exportPipelines.id, claim.id),
    eq(exportPipelines.fence, claim.fence),
    eq(exportPipelines.status, "IN_PROGRESS"),
  );

const statusOf = (db: Database, claim: Claim) =>
  db
    .select({ status: exportPipelines.status, fence: exportPipelines.fence })
    .from(exportPipelines)
    .where(and(eq(exportPipelines.tenantId, claim.tenantId), eq(exportPipelines.id, claim.id)));

function lost(rows: { status: string }[]): ExportLost {
  return new ExportLost(rows[0]?.status === "CANCELLED" ? "cancel" : "another");
}

/** @throws ExportLost when the claim does not hold any more: then nothing is written */
async function change(
  db: Database,
  claim: Claim,
  changes: PgUpdateSetSource<typeof exportPipelines>,
): Promise<void> {
  const [changed, status] = await asExporter(db, claim.tenantId, [
    db
      .update(exportPipelines)
      .set(changes)
      .where(isMine(claim))
      .returning({ id: exportPipelines.id }),
    statusOf(db, claim),
  ]);
  if (changed.length === 0) throw lost(status);
}

/** A sign of life: the lease goes on. Throws as every change of a claim's owner does. */
export const keepClaim = (db: Database, claim: Claim) => change(db, claim, held);

/** Lets the next worker begin at once. `isWaiting` where there was nothing to do yet: that is no failed try. */
export const releaseClaim = (db: Database, claim: Claim, isWaiting = false) =>
  change(db, claim, {
    leaseUntil: null,
    dueAt: after(sweepSeconds * 2),
    ...(isWaiting ? { tries: sql`greatest(tries - 1, 0)` } : {}),
  });

export const recordTotal = (db: Database, claim: Claim, rowsTotal: number) =>
  change(db, claim, { rowsTotal });

export const recordUpload = (db: Database, claim: Claim, objectKey: string, uploadId: string) =>
  change(db, claim, { objectKey, uploadId });

/** Everything up to this id was looked at: what it has is in the parts, and in the tail where there is one. */
export const recordScan = (
  db: Database,
  claim: Claim,
  scannedTo: string,
  tail: ExportTail | null,
  objectKey: string,
) => change(db, claim, { ...held, scannedTo, tail, objectKey, tries: 0 });

/** Keeps a part that S3 has, and moves the export on to its end. Throws as every change does. */
export async function recordPart(
  db: Database,
  claim: Claim,
  attempt: number,
  part: ExportPart,
): Promise<void> {
  const [done, status] = await asExporter(db, claim.tenantId, [
    db.execute(sql`
      with mine as (
        update export_pipelines
        set rows_exported = rows_exported + ${part.rows}::bigint, bytes = bytes + ${part.bytes}::bigint,
            parts = ${part.number}, last_id = coalesce(${part.lastId}::uuid, last_id), tries = 0,
            scanned_to = null, tail = null,
            lease_until = ${held.leaseUntil}, due_at = ${held.dueAt}
        where ${isMine(claim)}
        returning tenant_id, id
      )
      insert into export_parts (
        tenant_id, export_id, attempt, part_number, etag, sha256, rows, bytes, first_id, last_id
      )
      select
        tenant_id, id, ${attempt}::integer, ${part.number}::integer, ${part.etag}, ${part.sha256},
        ${part.rows}::bigint, ${part.bytes}::bigint, ${part.firstId}::uuid, ${part.lastId}::uuid
      from mine
      returning part_number`),
    statusOf(db, claim),
  ]);
  if (done.rows.length === 0) throw lost(status);
}

/** What S3 has of a part after it was uploaded once more. Its rows are the same. */
export async function replacePart(
  db: Database,
  claim: Claim,
  attempt: number,
  { number, etag, sha256, bytes }: ExportPart,
): Promise<void> {
  const [done, status] = await asExporter(db, claim.tenantId, [
    db
      .update(exportParts)
      .set({ etag, sha256, bytes })
      .where(
        and(
          eq(exportParts.tenantId, claim.tenantId),
          eq(exportParts.exportId, claim.id),
          eq(exportParts.attempt, attempt),
          eq(exportParts.number, number),
          exists(
            db
              .select({ one: sql`1` })
              .from(exportPipelines)
              .where(isMine(claim)),
          ),
        ),
      )
      .returning({ number: exportParts.number }),
    statusOf(db, claim),
  ]);
  if (done.length === 0) throw lost(status);
}

/** Begins again from the first row, under a key of its own. */
export const restartExport = (db: Database, claim: Claim) =>
  change(db, claim, {
    attempt: sql`attempt + 1`,
    objectKey: null,
    uploadId: null,
    rowsExported: 0,
    bytes: 0,
    parts: 0,
    lastId: null,
    scannedTo: null,
    tail: null,
  });

export const finishExport = (
  db: Database,
  claim: Claim,
  done: { objectKey: string; rows: number; bytes: number; finishedAt: Date },
) =>
  change(db, claim, {
    status: "DONE",
    leaseUntil: null,
    uploadId: null,
    objectKey: done.objectKey,
    rowsTotal: done.rows,
    // A compressed part that was made again may have others.
    bytes: done.bytes,
    finishedAt: done.finishedAt,
  });

/**
 * Ends an export with a reason for its user.
 * @param keepsUpload whether a retry may go on from the checkpoint; else it begins again
 */
export async function failExport(
  db: Database,
  claim: Claim,
  error: { code: string; message: string },
  keepsUpload: boolean,
): Promise<void> {
  if (!keepsUpload) await restartExport(db, claim);
  await change(db, claim, {
    status: "FAILED",
    leaseUntil: null,
    finishedAt: sql`clock_timestamp()`,
    errorCode: error.code,
    errorMessage: error.message,
  });
}

/** An export as it is now, whoever works on it. */
export async function readWork(
  db: Database,
  { tenantId, id }: Claim,
): Promise<ExportRow | undefined> {
  const query = db
    .select()
    .from(exportPipelines)
    .where(and(eq(exportPipelines.tenantId, tenantId), eq(exportPipelines.id, id)));
  const [rows] = await asExporter(db, tenantId, [query]);
  return rows[0];
}

/** The parts of the present attempt, in their order. */
export async function readParts(
  db: Database,
  claim: Claim,
  attempt: number,
): Promise<ExportPart[]> {
  const { tenantId: _tenant, exportId: _export, attempt: _attempt, ...columns } = partColumns;
  const query = db
    .select(columns)
    .from(exportParts)
    .where(
      and(
        eq(exportParts.tenantId, claim.tenantId),
        eq(exportParts.exportId, claim.id),
        eq(exportParts.attempt, attempt),
      ),
    )
    .orderBy(asc(exportParts.number));
  const [rows] = await asExporter(db, claim.tenantId, [query]);
  return rows;
}

const partColumns = getTableColumns(exportParts);
