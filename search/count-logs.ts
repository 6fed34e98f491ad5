import type { Client } from "@opensearch-project/opensearch";
import { z } from "zod";
import type { LogFilter } from "../events/log-filter.ts";
import { type LogStats, statsSize, timelineUnit } from "../events/log-stats.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { buildQuery } from "./build-query.ts";
import { runSearch } from "./search-logs.ts";

const terms = z.object({ buckets: z.array(z.object({ key: z.string(), doc_count: z.number() })) });
const answer = z.object({
  hits: z.object({ total: z.object({ value: z.number() }) }),
  // Missing where no index matched.
  aggregations: z
    .object({
      action: terms,
      severity: terms,
      resource_type: terms,
      user_id: terms,
      timeline: z.object({
        buckets: z.array(z.object({ key_as_string: z.string(), doc_count: z.number() })),
      }),
    })
    .optional(),
});

/** Counts of a tenant's logs by action, severity, resource type, user and time. Throws as searchLogs does. */
export async function countLogs(
  client: Client,
  scope: TenantScope,
  filter: LogFilter,
): Promise<LogStats> {
  const byTerm = (field: string) => ({
    terms: { field, size: statsSize, shard_size: statsSize * 10 },
  });
  const found = answer.parse(
    await runSearch(client, scope, {
      query: buildQuery(scope, filter),
      size: 0,
      track_total_hits: true,
      aggs: {
        action: byTerm("action"),
        severity: byTerm("severity"),
        resource_type: byTerm("resource_type"),
        user_id: byTerm("user_id"),
        timeline: {
          date_histogram: {
            field: "created_at",
            calendar_interval: timelineUnit(filter),
            min_doc_count: 1,
          },
        },
      },
    }),
  );
  const groups = found.aggregations;
  return {
    total: found.hits.total.value,
    action_counts: groups?.action.buckets ?? [],
    severity_counts: groups?.severity.buckets ?? [],
    resource_type_counts: groups?.resource_type.buckets ?? [],
    user_counts: groups?.user_id.buckets ?? [],
    timeline: (groups?.timeline.buckets ?? []).map((bucket) => ({
      key: bucket.key_as_string,
      doc_count: bucket.doc_count,
    })),
  };
}
