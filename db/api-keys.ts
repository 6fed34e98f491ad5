import { and, asc, eq, getTableColumns, isNull, lt, or, sql } from "drizzle-orm";
import { z } from "zod";
import type { NewAuditLog } from "../events/audit-log.ts";
import type { IdempotencyKey } from "../events/idempotency-key.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { asRole, type Database, inTenant } from "./client.ts";
import { beginClaims, keyStatements, parseKept, underKey } from "./idempotency.ts";
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

export type CreatedKey =
  | ({ outcome: "done" } & ChangedKey)
  /** By an earlier request with the same idempotency key and body. */
  | { outcome: "made before"; id: string }
  | { outcome: "too many" | "other body" | "in progress" };

/**
 * Makes a key, once for an idempotency key. What it is used with is known to the request that made it, and kept
 * nowhere: who repeats that is told which key there is.
 *
 * @param once where the caller has named none, one that no other request has
 */
export async function createApiKey(
  db: Database,
  scope: TenantScope,
  { hash, name, roles, expiresAt, createdBy }: NewApiKey,
  once: IdempotencyKey,
  log: NewAuditLog,
): Promise<CreatedKey> {
  const { tenantId } = scope;
  const isOurs = and(eq(apiKeys.tenantId, tenantId), isNull(apiKeys.revokedAt));
  const fields = sql`jsonb_build_object('resource_id', made.id)`;
  const done = await underKey(async (nonce, nonces) => {
    const { claim, isMine, keep, read } = keyStatements(db, scope, once, nonce);
    const [, , , , , own, kept, keys] = await withMonth(db, scope, () =>
      inTenant(db, scope, [
        ...beginWrite(db, scope),
        db.execute(beginClaims),
        claim(),
        // Two that make a key at once count one after the other.
        db.select({ id: tenants.id }).from(tenants).where(eq(tenants.id, tenantId)).for("update"),
        db.execute(sql`
          with made as (
            insert into api_keys (tenant_id, hash, name, roles, created_by, expires_at)
            select ${tenantId}, decode(${hash}, 'hex'), ${name},
              array(select json_array_elements_text(${JSON.stringify(roles)}::json)),
              ${createdBy}, ${expiresAt?.toISOString() ?? null}::timestamptz
            where ${isMine} and (select count(*) from ${apiKeys} where ${isOurs}) < ${maxKeys}
            returning id
          ), kept as (
            ${keep(sql`(select array_agg(id) from made)`, sql`1`)}
          ), ${storeOwnLog(scope, log, { from: sql`made`, fields })}
          select id from own`),
        read(),
        // In the same transaction: nobody may be told that it failed while the key is there.
        selectKeys(db, scope),
      ]),
    );
    return { kept: parseKept(kept.rows[0], nonces), keys, ownId: ownIdOf(own) };
  });
  if (done === null) return { outcome: "in progress" };
  const { kept, keys, ownId } = done;
  const id = kept?.ids[0];
  if (kept === undefined || id === undefined) return { outcome: "too many" };
  if (!kept.isSameBody) return { outcome: "other body" };
  if (kept.isReplay) return { outcome: "made before", id };
  const row = keys.find((key) => key.id === id);
  // A try whose answer was lost made it, and it was revoked before the second one came.
  return row ? { outcome: "done", row, ownId } : { outcome: "made before", id };
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
