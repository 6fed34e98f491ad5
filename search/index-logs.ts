import type { Client } from "@opensearch-project/opensearch";
import { z } from "zod";
import { type AuditLog } from "../events/audit-log.ts";
import { idMonth } from "../events/ids.ts";
import { leaves } from "../events/json-text.ts";
import { metadataPair } from "./build-query.ts";
import { ensureMonthIndex, writeAlias } from "./index-template.ts";

/** A log on its way to the index; `rev` counts the writes that it had to have. */
export type LogToIndex = AuditLog & { email_hash: string | null; rev: number };

/** What became of one log: `indexed` also where the index already has this revision or a newer one. */
export type IndexOutcome =
  | { id: string; status: "indexed" }
  | { id: string; status: "retry"; reason: string }
  | { id: string; status: "poisoned"; reason: string };

const bulkAnswer = z.object({
  items: z.array(
    z.object({
      index: z.object({
        _id: z.string(),
        status: z.int(),
        error: z.object({ type: z.string(), reason: z.string().nullish() }).optional(),
      }),
    }),
  ),
});
type BulkItem = z.infer<typeof bulkAnswer>["items"][number]["index"];

/**
 * Sends logs in one _bulk, each to the index of its month, and reads the outcome item by item. Months
 * that have no index yet get one, once.
 *
 * @throws when the cluster as a whole does not take the request
 */
export async function indexLogs(
  client: Client,
  logs: readonly LogToIndex[],
): Promise<IndexOutcome[]> {
  const items = await sendBulk(client, logs);
  const homeless = items
    .filter((item) => item.error?.type === "index_not_found_exception")
    .map((item) => item._id);
  if (homeless.length > 0) {
    for (const month of new Set(homeless.map(idMonth))) await ensureMonthIndex(client, month);
    const again = await sendBulk(
      client,
      logs.filter((log) => homeless.includes(log.id)),
    );
    const second = new Map(again.map((item) => [item._id, item]));
    return items.map((item) => outcomeOf(second.get(item._id) ?? item));
  }
  return items.map(outcomeOf);
}

const refreshAnswer = z.object({ _shards: z.object({ failed: z.int() }) });

/**
 * Makes everything that was indexed before this call visible to searches.
 *
 * @throws when a shard, or a copy of one, was not refreshed: a search there would miss logs
 */
export async function refreshMonths(client: Client, months: Iterable<string>): Promise<void> {
  const index = [...months].map(writeAlias);
  if (index.length === 0) return;
  const { body } = await client.indices.refresh({ index, ignore_unavailable: true });
  const { failed } = refreshAnswer.parse(body)._shards;
  if (failed > 0) throw new Error(`${failed} shards were not refreshed`);
}

async function sendBulk(client: Client, logs: readonly LogToIndex[]): Promise<BulkItem[]> {
  const body = logs.map((log) => `${bulkAction(log)}\n${indexDocument(log)}\n`).join("");
  // Without require_alias a missing month would be made as a plain index, which no reindex can swap.
  const response = await client.transport.request({
    method: "POST",
    path: "/_bulk",
    querystring: { require_alias: true },
    bulkBody: body,
  });
  return bulkAnswer.parse(response.body).items.map((item) => item.index);
}

function outcomeOf(item: BulkItem): IndexOutcome {
  const { _id: id, status, error } = item;
  // 409: the index has this revision or a newer one already.
  if (status < 300 || status === 409) return { id, status: "indexed" };
  // Behind this OpenSearch repeats the value, which no log line and no operator may see.
  const said = (error?.reason ?? "").split(/\.? Preview of field's value/)[0];
  const reason = `${status} ${error?.type ?? "unknown"}: ${said}`.slice(0, 500);
  // 404 and 403 speak of the index (missing, read-only), not of the document.
  const isPassing = status === 429 || status >= 500 || status === 404 || status === 403;
  return { id, status: isPassing ? "retry" : "poisoned", reason };
}

function bulkAction(log: LogToIndex): string {
  return JSON.stringify({
    index: {
      _index: writeAlias(idMonth(log.id)),
      _id: log.id,
      routing: log.tenant_id,
      version: log.rev,
      version_type: "external_gte",
    },
  });
}

const textFields = [
  "action",
  "resource_type",
  "resource_id",
  "resource_name",
  "user_id",
  "actor_name",
  "email",
  "session_id",
  "request_id",
  "ip_address",
  "user_agent",
  "description",
  "event_id",
] as const;

/** The document of a log: its fields, and what only searches need. */
export function indexDocument(log: LogToIndex): string {
  const { rev: _, ...fields } = log;
  const metadata = [...leaves(log.metadata ?? "{}")];
  const values = [
    ...textFields.map((field) => log[field]),
    ...metadata.map((leaf) => leaf.value),
    ...[log.before_state, log.after_state, log.targets].flatMap((text) =>
      [...leaves(text ?? "{}")].map((leaf) => leaf.value),
    ),
  ];
  return JSON.stringify({
    ...fields,
    target_ids: targetIds(log.targets ?? "[]"),
    metadata_pairs: metadata.map((leaf) => metadataPair(leaf.path, leaf.value)),
    text: values.filter((value) => value !== null),
  });
}

function targetIds(targets: string): string[] {
  return [...leaves(targets)].filter((leaf) => leaf.path === "id").map((leaf) => leaf.value);
}
