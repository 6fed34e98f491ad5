import { and, eq, gt, inArray, isNull, lte, or, sql } from "drizzle-orm";
import type { NewAuditLog } from "../events/audit-log.ts";
import { type IdempotencyKey, platformKeys } from "../events/idempotency-key.ts";
import type { Masking } from "../events/masking.ts";
import type { ReadAuditLevel } from "../events/read-audit.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import type { TenantSettings } from "../events/tenant-settings.ts";
import { asRole, type Database, inTenant } from "./client.ts";
import { beginClaims, type DoneOnce, keyStatements, parseKept, underKey } from "./idempotency.ts";
import { ownIdOf, storeOwnLog } from "./own-logs.ts";
import { tenants } from "./schema.ts";
import { noteSettings, storeChangedSettings } from "./settings-log.ts";
import { beginWrite, lockWrite, makeOwnTenant, withMonth } from "./write-logs.ts";

export type TenantRow = typeof tenants.$inferSelect;
/** What is undefined stays as it is. */
export type TenantChanges = {
  name?: string | null | undefined;
  status?: TenantRow["status"] | undefined;
  tokensNotBefore?: Date | undefined;
  readAudit?: ReadAuditLevel | null | undefined;
  masking?: Masking | null | undefined;
  rateTier?: string | undefined;
  /** Null: the default. A shorter one takes effect after 7 days: see change_retention() of the database. */
  retentionDays?: number | null | undefined;
  legalHold?: boolean | undefined;
};

/** What a tenant may be made with. */
export type NewTenant = Omit<TenantChanges, "status" | "tokensNotBefore" | "rateTier">;

/** What a tenant's own admin may change. */
export type OwnChanges = Pick<TenantChanges, "tokensNotBefore" | "readAudit" | "masking">;

/**
 * `changed` where the call did it; the row is undefined where there is no such tenant. `ownId`: the log of what
 * is another than before.
 */
export type ChangedTenant = {
  row: TenantRow | undefined;
  changed: boolean;
  ownId: string | undefined;
};

/** Tenants in the order of their ids' bytes: at most `size` of those after `after`. */
export async function listTenants(
  db: Database,
  after: string | null,
  size: number,
): Promise<TenantRow[]> {
  const byBytes = sql`${tenants.id} collate "C"`;
  const query = db
    .select()
    .from(tenants)
    .where(after === null ? undefined : gt(byBytes, after))
    .orderBy(byBytes)
    .limit(size);
  const [rows] = await asRole(db, "audit_operator", [query]);
  return rows;
}

/**
 * Makes a tenant, once for an idempotency key of the platform admins.
 *
 * @param settings null for the default
 * @param key where the caller has named none, one that no other request has
 * @param log that it was made
 * @returns the tenant as it is now; its row undefined where one of this id was there already
 */
export async function createTenant(
  db: Database,
  id: string,
  settings: NewTenant,
  key: IdempotencyKey,
  log: NewAuditLog,
): Promise<DoneOnce<{ row: TenantRow | undefined }>> {
  const { name = null, masking = null, retentionDays = null, legalHold = false } = settings;
  const { readAudit = null } = settings;
  const rules = masking === null ? null : JSON.stringify(masking);
  // Version 0 means the defaults: see admit().
  const version = masking === null ? 0 : 1;
  const scope = { tenantId: id, userId: null };
  const done = await underKey(async (nonce, nonces) => {
    const statements = keyStatements(db, { tenantId: platformKeys, userId: null }, key, nonce);
    const { claim, isMine, keep, read } = statements;
    const [, , , own, kept, rows] = await withMonth(db, scope, () =>
      asRole(db, "audit_operator", [
        lockWrite(db),
        db.execute(beginClaims),
        claim(),
        // Where there is one already the key stands for nothing, and is free. A tenant's id is no UUID: its log's is.
        db.execute(sql`
          with made as (
            insert into tenants (id, name, read_audit, masking, settings_version, retention_days, legal_hold)
            select
              ${id}, ${name}, ${readAudit}, ${rules}::json, ${version}::integer, ${retentionDays}::integer,
              ${legalHold}::boolean
            where ${isMine}
            on conflict do nothing returning id
          ), ${storeOwnLog(scope, log, { from: sql`made` })}, kept as (
            ${keep(sql`(select array_agg(id) from own)`, sql`1`)}
          )
          select id from own`),
        read(),
        selectTenant(db, id),
      ]),
    );
    return { kept: parseKept(kept.rows[0], nonces), row: rows[0], ownId: ownIdOf(own) };
  });
  if (done === null) return { outcome: "in progress" };
  const { kept, row, ownId } = done;
  if (kept?.isSameBody === false) return { outcome: "other body" };
  return { outcome: "done", isReplay: kept?.isReplay === true, row: kept && row, ownId };
}

/** Any tenant, for a platform admin. */
export async function readTenant(db: Database, id: string): Promise<TenantRow | undefined> {
  const [rows] = await asRole(db, "audit_operator", [selectTenant(db, id)]);
  return rows[0];
}

/** The settings of those of these tenants that there are, for a platform admin. */
export async function readSettings(
  db: Database,
  ids: readonly string[],
): Promise<Map<string, TenantSettings>> {
  const { id, settingsVersion: version, masking } = tenants;
  const query = db
    .select({ id, version, masking })
    .from(tenants)
    .where(inArray(id, [...ids]));
  const [rows] = await asRole(db, "audit_operator", [query]);
  return new Map(rows.map((row) => [row.id, { version: row.version, masking: row.masking }]));
}

/** Changes any tenant, for a platform admin: not where tokens_not_before would go back. */
export async function changeTenant(
  db: Database,
  id: string,
  changes: TenantChanges,
  log: NewAuditLog,
): Promise<ChangedTenant> {
  const scope = { tenantId: id, userId: null };
  const [, , changed, own, rows] = await withMonth(db, scope, () =>
    asRole(db, "audit_operator", [
      lockWrite(db),
      noteSettings(db, scope),
      updateTenant(db, id, changes),
      storeChangedSettings(db, scope, log),
      selectTenant(db, id),
    ]),
  );
  return { row: rows[0], changed: changed.length > 0, ownId: ownIdOf(own) };
}

/** The tenant of a request, which is made where it is not known yet. */
export async function readOwnTenant(
  db: Database,
  scope: TenantScope,
): Promise<TenantRow | undefined> {
  const [, rows] = await inTenant(db, scope, [
    makeOwnTenant(db, scope),
    selectTenant(db, scope.tenantId),
  ]);
  return rows[0];
}

/** Changes the tenant of a request: not where tokens_not_before would go back. */
export async function changeOwnTenant(
  db: Database,
  scope: TenantScope,
  changes: OwnChanges,
  log: NewAuditLog,
): Promise<ChangedTenant> {
  const [, , , changed, own, rows] = await withMonth(db, scope, () =>
    inTenant(db, scope, [
      ...beginWrite(db, scope),
      noteSettings(db, scope),
      updateTenant(db, scope.tenantId, changes),
      storeChangedSettings(db, scope, log),
      selectTenant(db, scope.tenantId),
    ]),
  );
  return { row: rows[0], changed: changed.length > 0, ownId: ownIdOf(own) };
}

function selectTenant(db: Database, id: string) {
  return db.select().from(tenants).where(eq(tenants.id, id));
}

function updateTenant(db: Database, id: string, changes: TenantChanges) {
  const { tokensNotBefore } = changes;
  return db
    .update(tenants)
    .set(changes)
    .where(
      and(
        eq(tenants.id, id),
        tokensNotBefore === undefined
          ? undefined
          : or(isNull(tenants.tokensNotBefore), lte(tenants.tokensNotBefore, tokensNotBefore)),
      ),
    )
    .returning({ id: tenants.id });
}
