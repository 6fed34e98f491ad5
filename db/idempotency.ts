import { type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import type { IdempotencyKey } from "../events/idempotency-key.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { type Database, sqlState } from "./client.ts";
import { repeatable } from "./repeatable.ts";

/** How long a request waits for another that holds its key or one of its events, in the database. */
const waitMs = 3_000;

/** SQLSTATE lock_not_available. */
const lockTimeout = "55P03";

/** Whether a batch gave up waiting for a request that holds its key, or one of its events. */
export const isHeldByAnother = (error: unknown): boolean => sqlState(error) === lockTimeout;

/** What was done, by this request or by an earlier one with its key; or why nothing was. `ownId`: the log of it. */
export type DoneOnce<T> =
  | ({ outcome: "done"; isReplay: boolean; ownId: string | undefined } & T)
  | { outcome: "other body" | "in progress" };

/**
 * The statements of a request that is done once for its key. They stand in one batch with what is done:
 * `begin`, `claim`, then what is done `where ${isMine}`, with `keep` beside it. Requests that race for a key
 * wait for each other at its row, until the first is committed or undone.
 *
 * A batch is READ COMMITTED, and must be: each statement sees what was committed while the last one waited.
 *
 * @param nonce of this try: a try of which no answer came may be repeated, with another nonce
 */
export function keyStatements(
  db: Database,
  { tenantId }: TenantScope,
  { sub, scope, key, bodyMac }: IdempotencyKey,
  nonce: string,
) {
  const isRow = sql`(tenant_id, sub, scope, key) = (${tenantId}, ${sub}, ${scope}, ${key})`;
  const isMine = sql`exists (select from idempotency_keys where ${isRow} and nonce = ${nonce}::uuid)`;
  return {
    /** Takes the key, where no one has it. What it was used for is forgotten after 24 hours. */
    claim: () =>
      db.execute(sql`
        insert into idempotency_keys (tenant_id, sub, scope, key, body_mac, nonce, created_at)
        values (${tenantId}, ${sub}, ${scope}, ${key}, ${bodyMac}, ${nonce}::uuid, ${batchTime})
        on conflict (tenant_id, sub, scope, key) do update set
          body_mac = excluded.body_mac, nonce = excluded.nonce, ids = null, made = null,
          created_at = excluded.created_at
        where idempotency_keys.ids is null
          or idempotency_keys.created_at < clock_timestamp() - interval '24 hours'`),
    isMine,
    /** Part of the statement that does it: keeps what the answer names. */
    keep: (ids: SQL, made: SQL) => sql`
      update idempotency_keys set ids = ${ids}, made = ${made} where ${isRow} and nonce = ${nonce}::uuid`,
    /** What the key stands for now: see parseKept. */
    read: () =>
      db.execute(sql`
        select ids, made, nonce, body_mac = ${bodyMac} as is_same_body
        from idempotency_keys where ${isRow} and ids is not null`),
    /** The first thing that the key stands for. */
    firstId: sql`(select ids[1] from idempotency_keys where ${isRow})`,
  };
}

/** The key of what only its own tries repeat: no caller has named it, and no other request has it. */
export const ownKey = (scope: string): IdempotencyKey => ({
  sub: "",
  scope,
  key: crypto.randomUUID(),
  bodyMac: "",
});

const keptRow = z.object({
  ids: z.array(z.string()),
  made: z.number(),
  nonce: z.string(),
  is_same_body: z.boolean(),
});

/** What a key stands for: where it is not this request's own, an earlier one's. */
export type Kept = { ids: string[]; made: number; isReplay: boolean; isSameBody: boolean };

/**
 * @param nonces of all tries of this request
 * @returns undefined where the key stands for nothing
 */
export function parseKept(row: unknown, nonces: ReadonlySet<string>): Kept | undefined {
  if (row === undefined) return undefined;
  const { nonce, is_same_body: isSameBody, ...kept } = keptRow.parse(row);
  return { ...kept, isReplay: !nonces.has(nonce), isSameBody };
}

/**
 * Tries something under a key, and once more where no answer came. Each try has a nonce of its own: the
 * second finds what the first has committed, and does not take it for its own doing.
 *
 * @param attempt gets the nonce of the try, and those of all tries so far
 * @returns null where another request holds what it needs
 */
export async function underKey<T>(
  attempt: (nonce: string, nonces: ReadonlySet<string>) => Promise<T>,
): Promise<T | null> {
  const nonces = new Set<string>();
  return repeatable(async () => {
    const nonce = crypto.randomUUID();
    nonces.add(nonce);
    try {
      return await attempt(nonce, nonces);
    } catch (error) {
      if (isHeldByAnother(error)) return null;
      throw error;
    }
  });
}

/** Before the first claim of a batch: sets the time of all that it stores, and how long it waits for others. */
export const beginClaims = sql`
  select set_config('lock_timeout', ${String(waitMs)}, true),
    set_config('app.batch_time', date_trunc('milliseconds', clock_timestamp())::text, true)`;

export const batchTime = sql`current_setting('app.batch_time')::timestamptz`;
