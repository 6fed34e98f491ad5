import type { Client } from "@opensearch-project/opensearch";
import { z } from "zod";
import type { AuditLog } from "../events/audit-log.ts";
import { idTime } from "../events/ids.ts";
import {
  maxCountedTotal,
  type LogFilter,
  type PageRequest,
  type Total,
} from "../events/log-filter.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { buildQuery } from "./build-query.ts";
import { readAlias } from "./index-template.ts";

const text = z.string().nullable();
const source = z.object({
  id: z.string(),
  tenant_id: z.string(),
  created_at: z.string(),
  occurred_at: z.string(),
  recorded_by: z.string(),
  action: z.string(),
  severity: z.enum(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
  outcome: text,
  actor_type: z.string(),
  actor_name: text,
  user_id: text,
  email: text,
  session_id: text,
  request_id: text,
  ip_address: text,
  user_agent: text,
  resource_type: z.string(),
  resource_id: z.string(),
  resource_name: text,
  description: text,
  event_id: text,
  metadata: text,
  before_state: text,
  after_state: text,
  targets: text,
  truncated_fields: text,
  masked_fields: text,
});
const answer = z.object({
  hits: z.object({
    total: z.object({ value: z.number(), relation: z.string() }).optional(),
    hits: z.array(z.object({ _source: source })),
  }),
});

export type SearchPage = { logs: AuditLog[]; hasMore: boolean; total: Total | null };

/**
 * One page of a tenant's logs.
 *
 * @returns at most `page.size` logs; the total is null on pages that follow a cursor
 * @throws what the client throws: no answer in time, a refused query, or a shard that failed
 */
export async function searchLogs(
  client: Client,
  scope: TenantScope,
  filter: LogFilter,
  page: PageRequest,
): Promise<SearchPage> {
  const { order, size, after, skip, before } = page;
  const query = buildQuery(scope, filter);
  if (before !== null)
    query.bool.filter.push({ range: { created_at: { lt: before, format: "epoch_millis" } } });
  const found = answer.parse(
    await runSearch(client, scope, {
      query,
      // One more tells whether there are more; from + size may not pass the limit of a result window.
      size: Math.min(size + 1, maxCountedTotal - skip),
      from: skip,
      sort: [{ created_at: order }, { id: order }],
      ...(after === null ? {} : { search_after: [idTime(after), after] }),
      track_total_hits: after === null ? maxCountedTotal : false,
    }),
  );
  const logs = found.hits.hits.map((hit) => hit._source);
  const { total } = found.hits;
  const isLowerBound = total !== undefined && total.relation !== "eq";
  const endsTheWindow = skip + size === maxCountedTotal;
  return {
    logs: logs.slice(0, size),
    hasMore: logs.length > size || (endsTheWindow && isLowerBound),
    total: total ? { count: total.value, isLowerBound } : null,
  };
}

/**
 * Sends a search to the tenant's shard and nowhere else. A shard that fails is an error: an audit
 * search never answers with a part.
 */
export async function runSearch(
  client: Client,
  scope: TenantScope,
  body: Record<string, unknown>,
): Promise<unknown> {
  const response = await client.search({
    index: readAlias,
    routing: scope.tenantId,
    ignore_unavailable: true,
    allow_partial_search_results: false,
    body,
  });
  return response.body;
}
