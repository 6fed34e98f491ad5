import type { Client } from "@opensearch-project/opensearch";
import { z } from "zod";
import type { LogSlice, LogSums } from "../events/log-slice.ts";

const sums = z.object({ doc_count: z.number(), bits: z.object({ value: z.number() }) });
const bitsOf = { bits: { sum: { field: "check" } } };
const sumsOf = (bucket: z.infer<typeof sums>): LogSums => ({
  logs: bucket.doc_count,
  check: bucket.bits.value,
});

const timeRange = ({ from, to }: { from: number; to: number }) => ({
  range: { created_at: { gte: from, lt: to, format: "epoch_millis" } },
});

/**
 * A search over all tenants, for maintenance only. A shard that fails is an error: what it does not show
 * would be taken for lost.
 */
async function searchAll(client: Client, index: string, body: object): Promise<unknown> {
  const response = await client.search({
    index,
    ignore_unavailable: true,
    allow_partial_search_results: false,
    body: { track_total_hits: false, ...body },
  });
  return response.body;
}

const tenantsAnswer = z.object({
  aggregations: z
    .object({
      tenants: z.object({
        buckets: z.array(sums.extend({ key: z.object({ tenant: z.string() }) })),
      }),
    })
    .optional(),
});

/**
 * What an index has of a slice of time, for each tenant that it has anything of, in the order of their bytes.
 *
 * @param range tenants after the first one, up to the last, or to the end
 * @param limit tenants at most
 */
export async function sumIndexedTenants(
  client: Client,
  index: string,
  time: { from: number; to: number },
  range: { after: string; last: string | undefined },
  limit: number,
): Promise<(LogSums & { tenantId: string })[]> {
  const tenants = { gt: range.after, ...(range.last === undefined ? {} : { lte: range.last }) };
  const found = tenantsAnswer.parse(
    await searchAll(client, index, {
      size: 0,
      query: { bool: { filter: [timeRange(time), { range: { tenant_id: tenants } }] } },
      aggs: {
        tenants: {
          composite: { size: limit, sources: [{ tenant: { terms: { field: "tenant_id" } } }] },
          aggs: bitsOf,
        },
      },
    }),
  );
  // Without any index there are no aggregations.
  return (found.aggregations?.tenants.buckets ?? []).map((bucket) => ({
    tenantId: bucket.key.tenant,
    ...sumsOf(bucket),
  }));
}

const slicesAnswer = z.object({
  aggregations: z.object({ slices: z.object({ buckets: z.array(sums) }) }).optional(),
});

/** What an index has of slices of one tenant, which must be in the order of time: one sum for each. */
export async function sumIndexedSlices(
  client: Client,
  index: string,
  slices: readonly LogSlice[],
): Promise<LogSums[]> {
  const [first] = slices;
  if (!first) return [];
  const found = slicesAnswer.parse(
    await searchAll(client, index, {
      size: 0,
      query: { bool: { filter: [{ term: { tenant_id: first.tenantId } }] } },
      aggs: {
        slices: {
          date_range: {
            field: "created_at",
            format: "epoch_millis",
            ranges: slices.map(({ from, to }) => ({ from: String(from), to: String(to) })),
          },
          aggs: bitsOf,
        },
      },
    }),
  );
  return (
    found.aggregations?.slices.buckets.map(sumsOf) ?? slices.map(() => ({ logs: 0, check: 0 }))
  );
}

/** A document where it lies, and what it says of itself. */
export type IndexedLog = {
  index: string;
  id: string;
  routing: string | undefined;
  version: number;
  seqNo: number;
  primaryTerm: number;
  /** From its fields; undefined where it lacks them. */
  tenantId: string | undefined;
  fieldId: string | undefined;
  check: number | undefined;
};

const strings = z.array(z.string()).optional();
const hitsAnswer = z.object({
  hits: z.object({
    hits: z.array(
      z.object({
        _index: z.string(),
        _id: z.string(),
        _routing: z.string().optional(),
        _version: z.number(),
        _seq_no: z.number(),
        _primary_term: z.number(),
        fields: z
          .object({ tenant_id: strings, id: strings, check: z.array(z.number()).optional() })
          .optional(),
      }),
    ),
  }),
});

/** The most documents that one search answers with: index.max_result_window. */
export const maxHits = 10_000;

async function findHits(client: Client, index: string, query: object): Promise<IndexedLog[]> {
  const { hits } = hitsAnswer.parse(
    await searchAll(client, index, {
      size: maxHits,
      query,
      _source: false,
      docvalue_fields: ["tenant_id", "id", "check"],
      version: true,
      seq_no_primary_term: true,
    }),
  );
  return hits.hits.map((hit) => ({
    index: hit._index,
    id: hit._id,
    routing: hit._routing,
    version: hit._version,
    seqNo: hit._seq_no,
    primaryTerm: hit._primary_term,
    tenantId: hit.fields?.tenant_id?.[0],
    fieldId: hit.fields?.id?.[0],
    check: hit.fields?.check?.[0],
  }));
}

/** The documents of a slice: at most `maxHits`. */
export function findIndexed(client: Client, index: string, slice: LogSlice): Promise<IndexedLog[]> {
  return findHits(client, index, {
    bool: { filter: [{ term: { tenant_id: slice.tenantId } }, timeRange(slice)] },
  });
}

/** Documents that no slice of a time has: without a tenant, without a time, or of another. At most `maxHits`. */
export function findStrays(
  client: Client,
  index: string,
  time: { from: number; to: number },
): Promise<IndexedLog[]> {
  const placed = [{ exists: { field: "tenant_id" } }, timeRange(time)];
  return findHits(client, index, { bool: { must_not: [{ bool: { filter: placed } }] } });
}

const bulkAnswer = z.object({
  items: z.array(z.object({ delete: z.object({ status: z.int() }) })),
});

/**
 * Deletes documents as they were found: one that was written since then stays.
 *
 * @returns how many were deleted
 */
export async function deleteIndexed(client: Client, found: readonly IndexedLog[]): Promise<number> {
  if (found.length === 0) return 0;
  const actions = found.map((log) =>
    JSON.stringify({
      delete: {
        _index: log.index,
        _id: log.id,
        ...(log.routing === undefined ? {} : { routing: log.routing }),
        if_seq_no: log.seqNo,
        if_primary_term: log.primaryTerm,
      },
    }),
  );
  const response = await client.transport.request({
    method: "POST",
    path: "/_bulk",
    querystring: { refresh: true },
    bulkBody: `${actions.join("\n")}\n`,
  });
  const { items } = bulkAnswer.parse(response.body);
  return items.filter((item) => item.delete.status === 200).length;
}

const settingsAnswer = z.record(
  z.string(),
  z.object({ settings: z.object({ index: z.object({ uuid: z.string() }) }) }),
);

/** The indices that an alias reads, by name, each with the uuid that it got when it was made. */
export async function readIndices(client: Client, alias: string): Promise<Map<string, string>> {
  const { body } = await client.indices.getSettings({
    index: alias,
    name: "index.uuid",
    ignore_unavailable: true,
  });
  return new Map(
    Object.entries(settingsAnswer.parse(body)).map(([name, { settings }]) => [
      name,
      settings.index.uuid,
    ]),
  );
}
