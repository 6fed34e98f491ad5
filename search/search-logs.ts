import type { Client } from "@opensearch-project/opensearch";
import { z } from "zod";
import type { AuditLog } from "../events/audit-log.ts";
import { idTime } from "../events/ids.ts";
import {
  maxCountedTotal,
  maxPageBytes,
  type LogFilter,
  type PageRequest,
  type Total,
} from "../events/log-filter.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { buildQuery } from "./build-query.ts";
import { AnswerTooLarge } from "./fetch-connection.ts";
import { readAlias } from "./index-template.ts";
import { isTooManyWords, NotForIndex } from "./not-for-index.ts";

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

export type SearchPage = {
  logs: AuditLog[];
  hasMore: boolean;
  /** The page has fewer logs than were asked for, because more would be too large; at least one. */
  isCut: boolean;
  total: Total | null;
};

/** A page that is too large is asked for again by a quarter: of a hundred logs 25, then 7, 2 and 1. */
const cutting = 4;

/**
 * One page of a tenant's logs: of fewer where these would be too large. OpenSearch cannot say how large its
 * answer will be, so it is asked for a whole page, and for less of one where the client gives up the answer.
 *
 * @param client whose answers have the bound of a page
 * @returns at most `page.size` logs; the total is null on pages that follow a cursor
 * @throws NotForIndex, and what the client throws: no answer in time, a refused query, or a shard that failed
 */
export async function searchLogs(
  client: Client,
  scope: TenantScope,
  filter: LogFilter,
  page: PageRequest,
): Promise<SearchPage> {
  for (let size = page.size; ; size = Math.ceil(size / cutting)) {
    try {
      const found = await searchPage(client, scope, filter, { ...page, size });
      return { ...found, isCut: size < page.size && found.hasMore };
    } catch (error) {
      if (!(error instanceof AnswerTooLarge) || size === 1) throw error;
    }
  }
}

async function searchPage(
  client: Client,
  scope: TenantScope,
  filter: LogFilter,
  page: PageRequest,
): Promise<Omit<SearchPage, "isCut">> {
  const { order, size, after, skip, notBefore, before } = page;
  // One more tells whether there are more; from + size may not pass the limit of a result window.
  const wanted = Math.min(size + 1, maxCountedTotal - skip);
  const inSteps = order === "asc" && skip === 0 && before !== null;
  const [{ logs, total }, counted] = inSteps
    ? await Promise.all([
        searchInSteps(client, scope, filter, { ...page, size: wanted, before }),
        after === null ? searchOnce(client, scope, filter, { ...page, size: 0 }) : undefined,
      ])
    : [await searchOnce(client, scope, filter, { ...page, size: wanted, notBefore })];
  const all = counted?.total ?? total;
  const endsTheWindow = skip + size === maxCountedTotal;
  return {
    logs: logs.slice(0, size),
    hasMore: logs.length > size || (endsTheWindow && all?.isLowerBound === true),
    total: all,
  };
}

type Found = { logs: AuditLog[]; total: Total | null };

async function searchOnce(
  client: Client,
  scope: TenantScope,
  filter: LogFilter,
  { order, size, after, skip, notBefore, before }: PageRequest,
): Promise<Found> {
  const query = buildQuery(scope, filter);
  const bounds = {
    ...(notBefore > 0 ? { gte: notBefore } : {}),
    ...(before === null ? {} : { lt: before }),
  };
  query.bool.filter.push({ range: { created_at: { ...bounds, format: "epoch_millis" } } });
  const { hits } = answer.parse(
    await runSearch(client, scope, {
      query,
      size,
      from: skip,
      sort: [{ created_at: order }, { id: order }],
      ...(after === null ? {} : { search_after: [idTime(after), after] }),
      track_total_hits: after === null ? maxCountedTotal : false,
    }),
  );
  return {
    logs: hits.hits.map((hit) => hit._source),
    total: hits.total
      ? { count: hits.total.value, isLowerBound: hits.total.relation !== "eq" }
      : null,
  };
}

const firstStepMs = 60 * 60 * 1000;
const widening = 16;

/**
 * The index is sorted newest first, so that an ascending search would read everything that lies after the
 * cursor. It is asked for steps of time instead, each wider than the one before, until the page is full:
 * five steps span seven years.
 *
 * @throws AnswerTooLarge also where the answers are only together too large
 */
async function searchInSteps(
  client: Client,
  scope: TenantScope,
  filter: LogFilter,
  page: PageRequest & { before: number },
): Promise<Found> {
  const logs: AuditLog[] = [];
  let step = firstStepMs;
  let from = Math.max(
    page.notBefore,
    filter.from ?? 0,
    page.after === null ? 0 : idTime(page.after),
  );
  for (; logs.length < page.size && from < page.before; from += step, step *= widening) {
    const before = Math.min(from + step, page.before);
    const size = page.size - logs.length;
    logs.push(
      ...(await searchOnce(client, scope, filter, { ...page, notBefore: from, before, size })).logs,
    );
    if (logs.length > 1 && textLength(logs) > maxPageBytes) throw new AnswerTooLarge();
  }
  return { logs, total: null };
}

const textLength = (logs: readonly AuditLog[]): number =>
  logs.flatMap((log) => Object.values(log)).reduce((sum, text) => sum + (text?.length ?? 0), 0);

/**
 * Sends a search to the tenant's shard and nowhere else. A shard that fails is an error: an audit
 * search never answers with a part.
 *
 * @throws as searchLogs
 */
export async function runSearch(
  client: Client,
  scope: TenantScope,
  body: Record<string, unknown>,
): Promise<unknown> {
  try {
    const response = await client.search({
      index: readAlias,
      routing: scope.tenantId,
      ignore_unavailable: true,
      allow_partial_search_results: false,
      body,
    });
    return response.body;
  } catch (error) {
    // The error's own text has the word.
    if (isTooManyWords(error)) throw new NotForIndex();
    throw error;
  }
}
