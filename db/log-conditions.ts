import { and, eq, gte, inArray, lt, not, or, type SQL, sql } from "drizzle-orm";
import { firstIdAt } from "../events/ids.ts";
import { exactFields, isIpPattern, type LogFilter } from "../events/log-filter.ts";
import type { SearchTerm } from "../events/search-terms.ts";
import { ownUserIds } from "../events/own-user-ids.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { auditLogs } from "./schema.ts";

/**
 * The filters of a list as SQL: the same logs that the index would find, and for `search` those that
 * hold the text as a substring. Always bounded by id on both sides, so that only the months that can
 * match are opened.
 */
export function logConditions(scope: TenantScope, filter: LogFilter): SQL | undefined {
  return and(
    eq(auditLogs.tenant_id, scope.tenantId),
    gte(auditLogs.id, firstIdAt(filter.from ?? 0)),
    lt(auditLogs.id, firstIdAt(filter.to ?? Number.MAX_SAFE_INTEGER)),
    anyValue(auditLogs.user_id, ownUserIds(scope) ?? []),
    ...exactFields.map((field) => anyValue(auditLogs[field], filter.exact[field] ?? [])),
    anyValue(auditLogs.email_hash, filter.email_hash),
    or(...filter.action.map(actionIs)),
    or(...filter.ip_address.map(addressIs)),
    targetIs(filter.target_id),
    ...[...Map.groupBy(filter.metadata, (pair) => pair.path)].map(([path, pairs]) =>
      metadataIs(pairs.map(({ value }) => `${path}=${value}`)),
    ),
    filter.occurred_from === null
      ? undefined
      : gte(auditLogs.occurred_at, new Date(filter.occurred_from)),
    filter.occurred_to === null
      ? undefined
      : lt(auditLogs.occurred_at, new Date(filter.occurred_to)),
    ...filter.search.map(textHas),
  );
}

type TextColumn = (typeof auditLogs)[(typeof exactFields)[number] | "email_hash"];

function anyValue(column: TextColumn, values: string[]): SQL | undefined {
  return values.length === 0 ? undefined : inArray(sql`${column}`, values);
}

function actionIs(action: string): SQL {
  return action.endsWith("*")
    ? sql`starts_with(${auditLogs.action}, ${action.slice(0, -1)})`
    : eq(auditLogs.action, action);
}

function addressIs(text: string): SQL {
  return isIpPattern(text)
    ? sql`try_inet(${auditLogs.ip_address}) <<= ${text}::inet`
    : eq(auditLogs.ip_address, text);
}

function targetIs(ids: string[]): SQL | undefined {
  if (ids.length === 0) return undefined;
  const elements = sql`json_array_elements(${auditLogs.targets}) as target`;
  return sql`exists (select from ${elements} where ${inArray(sql`target ->> 'id'`, ids)})`;
}

function metadataIs(pairs: string[]): SQL {
  return sql`exists (select from json_pairs(${auditLogs.metadata}) as pair where ${inArray(sql`pair`, pairs)})`;
}

/** Every text field and the JSON text of the objects, side by side. */
const wholeText = sql`concat_ws(E'\n', ${sql.join(
  [
    auditLogs.action,
    auditLogs.resource_type,
    auditLogs.resource_id,
    auditLogs.resource_name,
    auditLogs.user_id,
    auditLogs.actor_name,
    auditLogs.email,
    auditLogs.session_id,
    auditLogs.request_id,
    auditLogs.ip_address,
    auditLogs.user_agent,
    auditLogs.description,
    auditLogs.event_id,
    sql`${auditLogs.metadata}::text`,
    sql`${auditLogs.before_state}::text`,
    sql`${auditLogs.after_state}::text`,
    sql`${auditLogs.targets}::text`,
  ],
  sql`, `,
)})`;

function textHas(term: SearchTerm): SQL {
  const pattern = `%${term.text.replaceAll(/[\\%_]/g, "\\$&")}%`;
  const has = sql`${wholeText} ilike ${pattern}`;
  return term.not ? not(has) : has;
}
