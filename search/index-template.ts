import type { Client } from "@opensearch-project/opensearch";
import { z } from "zod";
import { maxTextLength } from "../events/clean-text.ts";

/** The alias that every search reads: all months. */
export const readAlias = "audit-logs";

/** The alias that a month's logs are written to: a reindex moves it to a new index without a gap. */
export function writeAlias(month: string): string {
  return `${readAlias}-${month}`;
}

/** While a month is reindexed, its logs are written through these two instead: to the index it has, and to the new one. */
export const oldAlias = (month: string): string => `${writeAlias(month)}-old`;
export const newAlias = (month: string): string => `${writeAlias(month)}-new`;

/** The month of an index of ours, `2026.11` of `audit-logs-2026.11-2`; undefined for another's. */
export function indexMonth(index: string): string | undefined {
  return /^audit-logs-(\d{4}\.\d\d)-\d+$/.exec(index)?.[1];
}

const keyword = { type: "keyword" as const, ignore_above: maxTextLength };
const shown = { enabled: false, type: "object" as const };

type SortOrder = "asc" | "desc";
const sortOrders: SortOrder[] = ["asc", "desc", "desc"];

const settings = {
  number_of_shards: 1,
  // None on a single node, one as soon as there is a second.
  auto_expand_replicas: "0-1",
  // The indexer refreshes; this only bounds how long a log waits if it dies before it does.
  refresh_interval: "30s",
  // Longer than any retry, so that an old version cannot come back after a delete.
  gc_deletes: "1h",
  sort: { field: ["tenant_id", "created_at", "id"], order: sortOrders },
  analysis: {
    char_filter: {
      punctuation: { type: "pattern_replace" as const, pattern: "\\p{P}+", replacement: " " },
    },
    analyzer: {
      words: {
        type: "custom" as const,
        char_filter: ["punctuation"],
        tokenizer: "standard",
        filter: ["lowercase", "asciifolding"],
      },
    },
  },
};

const mappings = {
  dynamic: false,
  _routing: { required: true },
  // What only filters use is indexed, but not kept a second time.
  _source: { excludes: ["text", "metadata_pairs", "target_ids"] },
  properties: {
    id: keyword,
    // See idCheck: what tells the logs of a slice of time apart from those of the database.
    check: { type: "integer" as const },
    tenant_id: keyword,
    created_at: { type: "date" as const },
    occurred_at: { type: "date" as const },
    action: keyword,
    severity: keyword,
    outcome: keyword,
    actor_type: keyword,
    user_id: keyword,
    email_hash: keyword,
    session_id: keyword,
    request_id: keyword,
    ip_address: { ...keyword, fields: { ip: { type: "ip" as const, ignore_malformed: true } } },
    resource_type: keyword,
    resource_id: keyword,
    target_ids: keyword,
    metadata_pairs: keyword,
    text: {
      type: "text" as const,
      analyzer: "words",
      norms: false,
      // Else a prefix behind other words could only be looked for as each of the words that begin so.
      index_prefixes: { min_chars: 1, max_chars: 10 },
    },
    // JSON text inside a string: nothing that reads it on the way can round a number or move a key.
    metadata: shown,
    before_state: shown,
    after_state: shown,
    targets: shown,
    truncated_fields: shown,
    masked_fields: shown,
  },
};

/** What every new index begins with. It names no alias: an index that comes to be by accident is in no search. */
export async function putTemplate(client: Client): Promise<void> {
  await client.indices.putIndexTemplate({
    name: readAlias,
    body: {
      index_patterns: [`${readAlias}-*`],
      template: { settings: { index: settings }, mappings },
    },
  });
}

/** Makes the index of a month with both its aliases, unless it has one, or another indexer was faster. Safe to repeat. */
export async function ensureMonthIndex(client: Client, month: string): Promise<void> {
  await putTemplate(client);
  // After a reindex the month's index has another number: then there is nothing to make.
  if ((await client.indices.existsAlias({ name: writeAlias(month) })).body) return;
  await createIndex(client, `${writeAlias(month)}-1`, [readAlias, writeAlias(month)]);
}

/** @returns whether this call made it */
export async function createIndex(
  client: Client,
  index: string,
  aliases: string[],
): Promise<boolean> {
  try {
    const named = Object.fromEntries(aliases.map((alias) => [alias, {}]));
    await client.indices.create({ index, body: { aliases: named } });
    return true;
  } catch (error) {
    if (errorType(error) !== "resource_already_exists_exception") throw error;
    return false;
  }
}

const failure = z.object({ body: z.object({ error: z.object({ type: z.string() }) }) });

/** The type of an error that OpenSearch answered with. */
export function errorType(error: unknown): string | undefined {
  return failure.safeParse(error).data?.body.error.type;
}

/** Indices that were made before documents had a `check` learn to count it, for what is written from now on. */
export async function addCheckMapping(client: Client, index: string): Promise<void> {
  await client.indices.putMapping({
    index,
    body: { properties: { check: mappings.properties.check } },
  });
}
