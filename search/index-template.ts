import type { Client } from "@opensearch-project/opensearch";
import { maxTextLength } from "../events/clean-text.ts";

/** The alias that every search reads: all months. */
export const readAlias = "audit-logs";

/** The alias that a month's logs are written to: a reindex moves it to a new index without a gap. */
export function writeAlias(month: string): string {
  return `${readAlias}-${month}`;
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
    text: { type: "text" as const, analyzer: "words", norms: false },
    // JSON text inside a string: nothing that reads it on the way can round a number or move a key.
    metadata: shown,
    before_state: shown,
    after_state: shown,
    targets: shown,
    truncated_fields: shown,
    masked_fields: shown,
  },
};

/** Makes the index of a month with both its aliases, unless another indexer was faster. Safe to repeat. */
export async function ensureMonthIndex(client: Client, month: string): Promise<void> {
  await client.indices.putIndexTemplate({
    name: readAlias,
    body: {
      index_patterns: [`${readAlias}-*`],
      template: { settings: { index: settings }, mappings, aliases: { [readAlias]: {} } },
    },
  });
  const index = `${writeAlias(month)}-1`;
  try {
    await client.indices.create({ index, body: { aliases: { [writeAlias(month)]: {} } } });
  } catch (error) {
    const type = (error as { body?: { error?: { type?: string } } }).body?.error?.type;
    if (type !== "resource_already_exists_exception") throw error;
  }
}
