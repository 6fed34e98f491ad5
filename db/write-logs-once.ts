import { type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import type { NewAuditLog } from "../events/audit-log.ts";
import type { IdempotencyKey } from "../events/idempotency-key.ts";
import { idTime } from "../events/ids.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { type Database, inTenant, sqlDetail, sqlState } from "./client.ts";
import {
  batchTime,
  beginClaims,
  isHeldByAnother,
  keyStatements,
  parseKept,
  underKey,
} from "./idempotency.ts";
import { beginWrite, insertLogs, sentRows, type StoredLog, withMonth } from "./write-logs.ts";

/** A log, and where it has an event_id a keyed hash of what was sent. No two have the same event_id. */
export type LogOnce = { log: NewAuditLog; contentMac: string | null };

export type WrittenOnce =
  | {
      outcome: "done";
      /** In the order of the logs; for an event that was sent before, the log of that time. */
      logs: StoredLog[];
      /** How many were stored by the request that has the key, or by this one where there is none. */
      made: number;
      isReplay: boolean;
    }
  | { outcome: "other body" | "in progress" }
  /** Which logs, by their numbers from 0. Nothing is stored. */
  | { outcome: "other content"; places: number[] };

/** SQLSTATE of refuse_event_ids(). */
const otherContent = "ALE01";

const resolved = z.array(z.object({ id: z.string(), is_new: z.boolean() }));
/**
 * Like writeLogs, for what is to be stored once: by the key of the request, by the events' own ids, or both.
 * Under a key a try of which no answer came is repeated: if it was committed, the answer is what it stored.
 *
 * @throws DatabaseUnavailable as writeLogs does
 */
export async function writeLogsOnce(
  db: Database,
  scope: TenantScope,
  entries: readonly LogOnce[],
  key: IdempotencyKey | undefined,
): Promise<WrittenOnce> {
  const write = (nonce: string, nonces: ReadonlySet<string>) =>
    withMonth(db, scope, () =>
      key === undefined
        ? writeEvents(db, scope, entries, nonce)
        : writeUnderKey(db, scope, entries, key, nonce, nonces),
    );
  try {
    if (key !== undefined) return (await underKey(write)) ?? { outcome: "in progress" };
    return await write(crypto.randomUUID(), new Set());
  } catch (error) {
    if (isHeldByAnother(error)) return { outcome: "in progress" };
    if (sqlState(error) !== otherContent) throw error;
    const places = sqlDetail(error)?.match(/\d+/g) ?? [];
    return { outcome: "other content", places: places.map(Number) };
  }
}

async function writeEvents(
  db: Database,
  scope: TenantScope,
  entries: readonly LogOnce[],
  nonce: string,
): Promise<WrittenOnce> {
  const results = await inTenant(db, scope, [
    ...beginWrite(db, scope),
    db.execute(beginClaims),
    ...claimEvents(db, scope, entries, nonce),
    db.execute(insertClaimed(scope, entries, nonce)),
  ]);
  const rows = resolved.parse(results.at(-1)?.rows);
  const logs = rows.map(({ id }) => storedLog(id));
  return { outcome: "done", logs, made: rows.filter((row) => row.is_new).length, isReplay: false };
}

async function writeUnderKey(
  db: Database,
  scope: TenantScope,
  entries: readonly LogOnce[],
  key: IdempotencyKey,
  nonce: string,
  nonces: ReadonlySet<string>,
): Promise<WrittenOnce> {
  const { claim, isMine, keep, read } = keyStatements(db, scope, key, nonce);
  const results = await inTenant(db, scope, [
    ...beginWrite(db, scope),
    db.execute(beginClaims),
    claim(),
    ...claimEvents(db, scope, entries, nonce, isMine),
    db.execute(insertClaimed(scope, entries, nonce, isMine, keep)),
    read(),
  ]);
  const kept = parseKept(results.at(-1)?.rows[0], nonces);
  if (kept === undefined) throw new Error("The key that was taken is not there.");
  const { ids, made, isReplay } = kept;
  if (!kept.isSameBody) return { outcome: "other body" };
  return { outcome: "done", logs: ids.map(storedLog), made, isReplay };
}

/** A log's time of storing is that of its id. */
const storedLog = (id: string): StoredLog => ({
  id,
  createdAt: new Date(idTime(id)).toISOString(),
});

const hasEvents = (entries: readonly LogOnce[]): boolean =>
  entries.some(({ contentMac }) => contentMac !== null);

const claimRows = (entries: readonly LogOnce[]): SQL => sql`
  json_to_recordset(${JSON.stringify(
    entries.map(({ log, contentMac }, n) => ({
      n,
      event_id: contentMac === null ? null : log.event_id,
      content_mac: contentMac,
    })),
  )}::json) as claim (n integer, event_id text, content_mac text)`;

/**
 * What is known of a claim's event. LIMIT keeps it a look-up by key for each claim: as a join it may become
 * a scan of all that the tenant sent in a week.
 */
const eventOf = ({ tenantId }: TenantScope): SQL => sql`
  lateral (
    select content_mac, nonce, log_id from event_ids
    where tenant_id = ${tenantId} and user_wall = coalesce(app_user_wall(), '')
      and event_ids.event_id = claim.event_id
    limit 1
  ) as event`;

/**
 * Takes the events that no one has, always in the same order: two bulks with some of the same never wait for
 * each other in a ring. Then ends the transaction where one is taken by other content.
 *
 * @param condition without which none is taken
 */
function claimEvents(
  db: Database,
  scope: TenantScope,
  entries: readonly LogOnce[],
  nonce: string,
  condition = sql`true`,
) {
  if (!hasEvents(entries)) return [];
  const claims = claimRows(entries);
  return [
    db.execute(sql`
      insert into event_ids (tenant_id, user_wall, event_id, content_mac, nonce, log_id, created_at)
      select ${scope.tenantId}, coalesce(app_user_wall(), ''), event_id, content_mac, ${nonce}::uuid,
        audit_log_id(${batchTime}, n), ${batchTime}
      from ${claims}
      where event_id is not null and ${condition}
      order by event_id collate "C"
      on conflict (tenant_id, user_wall, event_id) do update set
        content_mac = excluded.content_mac, nonce = excluded.nonce, log_id = excluded.log_id,
        created_at = excluded.created_at
      where event_ids.created_at < clock_timestamp() - interval '7 days'`),
    db.execute(sql`
      select refuse_event_ids(array_agg(n order by n))
      from ${claims} cross join ${eventOf(scope)}
      where event.nonce <> ${nonce}::uuid and event.content_mac <> claim.content_mac and ${condition}
      having count(*) > 0`),
  ];
}

/** Stores the logs but for those whose event has one, and answers with every log's id, in their order. */
function insertClaimed(
  scope: TenantScope,
  entries: readonly LogOnce[],
  nonce: string,
  condition = sql`true`,
  keep?: (ids: SQL, made: SQL) => SQL,
): SQL {
  const kept = keep?.(
    sql`(select array_agg(id order by n) from resolved)`,
    sql`(select count(*) from resolved where is_new)`,
  );
  const ofNone = sql`
    select n, audit_log_id(${batchTime}, n) as id, true as is_new from ${claimRows(entries)}`;
  const ofEvents = sql`
    select n, coalesce(event.log_id, audit_log_id(${batchTime}, n)) as id,
      coalesce(event.nonce = ${nonce}::uuid, true) as is_new
    from ${claimRows(entries)} left join ${eventOf(scope)} on true`;
  return sql`
    with resolved as materialized (
      ${hasEvents(entries) ? ofEvents : ofNone}
      where ${condition}
    ), ${insertLogs(
      scope,
      sql`resolved.id`,
      batchTime,
      sql`${sentRows(entries.map(({ log }) => log))} join resolved using (n) where is_new`,
    )}${kept === undefined ? sql`` : sql`, kept as (${kept})`}
    select id, is_new from resolved order by n`;
}
