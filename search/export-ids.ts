import type { Client } from "@opensearch-project/opensearch";
import { z } from "zod";
import { idTime } from "../events/ids.ts";
import type { LogFilter } from "../events/log-filter.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { buildQuery } from "./build-query.ts";
import { runSearch } from "./search-logs.ts";

const answer = z.object({
  hits: z.object({
    total: z.object({ value: z.number() }).optional(),
    hits: z.array(z.object({ _source: z.object({ id: z.string() }) })),
  }),
});

/** What a search finds between two ids, both exclusive. */
export type SearchRange = { scope: TenantScope; filter: LogFilter; after: string; upper: string };

function query({ scope, filter, upper }: SearchRange) {
  const { bool } = buildQuery(scope, filter);
  const range = { created_at: { lt: idTime(upper), format: "epoch_millis" } };
  return { bool: { ...bool, filter: [...bool.filter, { range }] } };
}

/**
 * The next ids that a search finds, in ascending order. The bound must be the first id of a millisecond.
 *
 * @returns at most `size`; fewer where there are no more
 * @throws as searchLogs
 */
export async function findIds(client: Client, range: SearchRange, size: number): Promise<string[]> {
  const found = await runSearch(client, range.scope, {
    query: query(range),
    size,
    _source: ["id"],
    sort: [{ created_at: "asc" }, { id: "asc" }],
    search_after: [idTime(range.after), range.after],
    track_total_hits: false,
  });
  return answer.parse(found).hits.hits.map((hit) => hit._source.id);
}

/** How many logs a search finds below its bound. */
export async function countFound(client: Client, range: SearchRange): Promise<number> {
  const body = { query: query(range), size: 0, track_total_hits: true };
  return answer.parse(await runSearch(client, range.scope, body)).hits.total?.value ?? 0;
}
