import { getTableColumns, sql } from "drizzle-orm";
import type { NewAuditLog } from "../events/audit-log.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import type { Database } from "./client.ts";
import { storeOwnLog } from "./own-logs.ts";
import { tenants } from "./schema.ts";
import { timeText } from "./time-text.ts";

/** Whether a change of a column is a change of settings, of which a log is kept with the values. */
const isSetting: Record<keyof typeof tenants.$inferSelect, boolean> = {
  id: false,
  createdAt: false,
  name: true,
  status: true,
  tokensNotBefore: true,
  readAudit: true,
  masking: true,
  settingsVersion: false,
  rateTier: true,
  retentionDays: true,
  // What follows from them: when a shorter one takes effect.
  retentionDaysBefore: false,
  retentionTakesEffectAt: true,
  legalHold: true,
};

const settings = Object.entries(getTableColumns(tenants))
  .filter(([key]) => isSetting[key as keyof typeof isSetting])
  .map(([, { name }]) => name);

/** A tenant's row as JSON. Its times are made text as everywhere: to_jsonb() would go by the session's time zone. */
const settingsJson = sql`to_jsonb(tenants) || jsonb_build_object(${sql.join(
  Object.values(getTableColumns(tenants))
    .filter((column) => column.getSQLType().startsWith("timestamp"))
    .map((column) => sql`${column.name}::text, ${timeText(sql`${column}`)}`),
  sql`, `,
)})`;

/** Before a tenant's settings are changed: keeps them for storeChangedSettings, and all others from changing them. */
export function noteSettings(db: Database, { tenantId }: TenantScope) {
  return db.execute(sql`
    select set_config('app.settings', settings::text, true)
    from (select ${settingsJson} as settings from tenants where id = ${tenantId} for update) as noted`);
}

/** After the change, in the same batch: stores a log of the settings that are others now, if any. */
export function storeChangedSettings(db: Database, scope: TenantScope, log: NewAuditLog) {
  const fields = sql`jsonb_build_object(
    'metadata', jsonb_build_object('settings', difference.names)::text,
    'before_state', difference.before::text,
    'after_state', difference.after::text
  )`;
  return db.execute(sql`
    with difference as (
      select jsonb_agg(key order by key) as names, jsonb_object_agg(key, was.value) as before,
        jsonb_object_agg(key, become.value) as after
      from tenants
        cross join jsonb_each(${settingsJson}) as become
        join jsonb_each(nullif(current_setting('app.settings', true), '')::jsonb) as was using (key)
      where id = ${scope.tenantId} and was.value <> become.value and key = any(${sql.param(settings)})
      having count(*) > 0
    ), ${storeOwnLog(scope, log, { from: sql`difference`, fields })}
    select id from own`);
}
