import { and, asc, eq, getTableColumns, isNull, lt, or, sql } from "drizzle-orm";
import { z } from "zod";
import type { NewAuditLog } from "../events/audit-log.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { asRole, type Database, inTenant } from "./client.ts";
import { ownIdOf, storeOwnLog } from "./own-logs.ts";
import { apiKeys, tenants } from "./schema.ts";
import { beginWrite, lockWrite, withMonth } from "./write-logs.ts";

export const keyRoles = ["admin", "auditor", "writer"] as const;
/** Keys of a tenant that are not revoked, at most: so that a list needs no pages. */
export const maxKeys = 100;

const foundRow = z.object({
  id: z.string(),
  tenant_id: z.string(),
  roles: z.array(z.enum(keyRoles)),
  expires_ms: z.coerce.number().nullable(),
});

export type FoundKey = {
  id: string;
  tenantId: string;
  roles: (typeof keyRoles)[number][];
  /** Milliseconds since 1970; Infinity where it does not expire. */
  expiresAt: number;
};

export type ApiKeyRow = typeof apiKeys.$inferSelect;
export type NewApiKey = Pick<ApiKeyRow, "name" | "roles" | "expiresAt" | "createdBy"> & {
  /** SHA-256 of the key, as hexadecimal digits. */
  hash: string;
};

/** The key of a hash, whosever it is, unless it is revoked or has expired. */
export async function findApiKey(db: Database, hash: string): Promise<FoundKey | null> {
  const [result] = await asRole(db, "audit_api", [
    db.execute(sql`
      select id, tenant_id, array_to_json(roles) as roles, extract(epoch from expires_at) * 1000 as expires_ms
      from find_api_key(decode(${hash}, 'hex'))`),
  ]);
  const [row] = result.rows;
  if (!row) return null;
  const { id, tenant_id: tenantId, roles, expires_ms: expires } = foundRow.parse(row);
  return { id, tenantId, roles, expiresAt: expires ?? Infinity };
}

/** A key that was made or revoked, and the id of the log of that. */
export type ChangedKey = { row: ApiKeyRow; ownId: string | undefined };

const madeRow = z.object({ id: z.uuid(), key_id: z.uuid() });

/** @returns the new key, or undefined where the tenant has as many as it may have */
export async function createApiKey(
  db: Database,
  scope: TenantScope,
  { hash, name, roles, expiresAt, createdBy }: NewApiKey,
  log: NewAuditLog,
): Promise<ChangedKey | undefined> {
  const { tenantId } = scope;
  const isOurs = and(eq(apiKeys.tenantId, tenantId), isNull(apiKeys.revokedAt));
  const fields = sql`jsonb_build_object('resource_id', made.id)`;
  const [, , , made, keys] = await withMonth(db, scope, () =>
    inTenant(db, scope, [
      ...beginWrite(db, scope),
      // Two that make a key at once count one after the other.
      db.select({ id: tenants.id }).from(tenants).where(eq(tenants.id, tenantId)).for("update"),
      db.execute(sql`
        with made as (
          insert into api_keys (tenant_id, hash, name, roles, created_by, expires_at)
          select ${tenantId}, decode(${hash}, 'hex'), ${name},
            array(select json_array_elements_text(${JSON.stringify(roles)}::json)),
            ${createdBy}, ${expiresAt?.toISOString() ?? null}::timestamptz
          where (select count(*) from ${apiKeys} where ${isOurs}) < ${maxKeys}
          returning id
        ), ${storeOwnLog(scope, log, { from: sql`made`, fields })}
        select own.id, made.id as key_id from own, made`),
      // In the same transaction: nobody may be told that it failed while the key is there.
      selectKeys(db, scope),
    ]),
  );
  const [first] = made.rows;
  if (first === undefined) return undefined;
  const { id: ownId, key_id: id } = madeRow.parse(first);
  const row = keys.find((key) => key.id === id);
  return row && { row, ownId };
}

/** The tenant's keys that are not revoked, the oldest first. */
export async function listApiKeys(db: Database, scope: TenantScope): Promise<ApiKeyRow[]> {
  const [rows] = await inTenant(db, scope, [selectKeys(db, scope)]);
  return rows;
}

function selectKeys(db: Database, { tenantId }: TenantScope) {
  return db
    .select(getTableColumns(apiKeys))
    .from(apiKeys)
    .where(and(eq(apiKeys.tenantId, tenantId), isNull(apiKeys.revokedAt)))
    .orderBy(asc(apiKeys.createdAt), asc(apiKeys.id));
}

/** @returns the key, now revoked; undefined where the tenant has no such key, or it is revoked already */
export async function revokeApiKey(
  db: Database,
  scope: TenantScope,
  id: string,
  log: NewAuditLog,
): Promise<ChangedKey | undefined> {
  const isKey = and(eq(apiKeys.tenantId, scope.tenantId), eq(apiKeys.id, id));
  const update = db
    .update(apiKeys)
    .set({ revokedAt: sql`clock_timestamp()` })
    .where(and(isKey, isNull(apiKeys.revokedAt)))
    .returning({ id: apiKeys.id, name: apiKeys.name });
  const fields = sql`jsonb_build_object('resource_id', changed.id, 'resource_name', changed.name)`;
  const [, own, rows] = await withMonth(db, scope, () =>
    inTenant(db, scope, [
      lockWrite(db),
      db.execute(sql`
        with changed as ${update}, ${storeOwnLog(scope, log, { from: sql`changed`, fields })}
        select id from own`),
      db.select(getTableColumns(apiKeys)).from(apiKeys).where(isKey),
    ]),
  );
  const ownId = ownIdOf(own);
  const [row] = rows;
  return ownId === undefined || !row ? undefined : { row, ownId };
}

/** Notes that a key was used, once a minute at most. */
export async function touchApiKey(db: Database, tenantId: string, id: string): Promise<void> {
  const minuteAgo = sql`clock_timestamp() - interval '1 minute'`;
  await inTenant(db, { tenantId, userId: null }, [
    db
      .update(apiKeys)
      .set({ lastUsedAt: sql`clock_timestamp()` })
      .where(
        and(
          eq(apiKeys.tenantId, tenantId),
          eq(apiKeys.id, id),
          or(isNull(apiKeys.lastUsedAt), lt(apiKeys.lastUsedAt, minuteAgo)),
        ),
      ),
  ]);
}
