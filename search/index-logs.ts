import type { Client } from "@opensearch-project/opensearch";
import { z } from "zod";
import { type AuditLog } from "../events/audit-log.ts";
import { idMonth } from "../events/ids.ts";
import { leaves } from "../events/json-text.ts";
import { maxMetadataPath } from "../events/log-filter.ts";
import { idCheck } from "../events/log-slice.ts";
import { metadataPair } from "./build-query.ts";
import { ensureMonthIndex, newAlias, oldAlias, writeAlias } from "./index-template.ts";

/** A log as a document has it; `rev` rises with the writes that it had to have. */
export type LogToStore = AuditLog & { email_hash: string | null; rev: number };

/** A log on its way to the index, and whether its month is being reindexed: then it goes into two. */
export type LogToIndex = LogToStore & { reindexed: boolean };

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

type Action = { log: LogToStore; index: string };

/** The aliases that a log is written through: it is searchable when all of them were refreshed. */
export function aliasesOf({ id, reindexed }: Pick<LogToIndex, "id" | "reindexed">): string[] {
  const month = idMonth(id);
  return reindexed ? [oldAlias(month), newAlias(month)] : [writeAlias(month)];
}

/**
 * Sends logs in one _bulk, each to the index of its month, or to both of a month that is being reindexed,
 * and reads the outcome item by item. Months that have no index yet get one, once.
 *
 * @throws when the cluster as a whole does not take the request
 */
export async function indexLogs(
  client: Client,
  logs: readonly LogToIndex[],
): Promise<IndexOutcome[]> {
  const actions: Action[] = logs.flatMap((log) => aliasesOf(log).map((index) => ({ log, index })));
  const items = await sendBulk(client, actions);
  const isHomeless = ({ log, index }: Action, n: number) =>
    items[n]?.error?.type === "index_not_found_exception" && index === writeAlias(idMonth(log.id));
  const homeless = actions.filter(isHomeless);
  if (homeless.length === 0) return outcomesOf(items);
  for (const month of new Set(homeless.map(({ log }) => idMonth(log.id))))
    await ensureMonthIndex(client, month);
  const again = await sendBulk(client, homeless);
  const others = actions.flatMap((action, n) => (isHomeless(action, n) ? [] : (items[n] ?? [])));
  return outcomesOf([...others, ...again]);
}

/** Like indexLogs, but into one index, by an alias that must be there. */
export async function indexInto(
  client: Client,
  index: string,
  logs: readonly LogToStore[],
): Promise<IndexOutcome[]> {
  return outcomesOf(
    await sendBulk(
      client,
      logs.map((log) => ({ log, index })),
    ),
  );
}

const refreshAnswer = z.object({ _shards: z.object({ failed: z.int() }) });

/**
 * Makes everything that was indexed before this call visible to searches.
 *
 * @param aliases as aliasesOf has them
 * @throws when a shard, or a copy of one, was not refreshed: a search there would miss logs
 */
export async function refreshIndices(client: Client, aliases: Iterable<string>): Promise<void> {
  const index = [...aliases];
  if (index.length === 0) return;
  const { body } = await client.indices.refresh({ index, ignore_unavailable: true });
  const { failed } = refreshAnswer.parse(body)._shards;
  if (failed > 0) throw new Error(`${failed} shards were not refreshed`);
}

/**
 * Characters of one _bulk, about: some managed domains take 10 MiB. A document is larger than its log, and may
 * fill one alone.
 */
const maxBulkLength = 4 * 1024 * 1024;

/** Sends actions in as many requests as their size asks for. Returns an item for each, in their order. */
async function sendBulk(client: Client, actions: readonly Action[]): Promise<BulkItem[]> {
  const items: BulkItem[] = [];
  let document: { of: LogToStore; text: string } | undefined;
  let body = "";
  for (const { log, index } of actions) {
    // The actions of one log follow each other.
    if (document?.of !== log) document = { of: log, text: indexDocument(log) };
    if (body.length > 0 && body.length + document.text.length > maxBulkLength) {
      items.push(...(await sendBody(client, body)));
      body = "";
    }
    body += `${bulkAction(log, index)}\n${document.text}\n`;
  }
  return body === "" ? items : [...items, ...(await sendBody(client, body))];
}

async function sendBody(client: Client, body: string): Promise<BulkItem[]> {
  // Without require_alias a missing month would be made as a plain index, which no reindex can swap.
  const response = await client.transport.request({
    method: "POST",
    path: "/_bulk",
    querystring: { require_alias: true },
    bulkBody: body,
  });
  return bulkAnswer.parse(response.body).items.map((item) => item.index);
}

/** One outcome for each log: where it went into two indices, it is indexed when both have it. */
function outcomesOf(items: readonly BulkItem[]): IndexOutcome[] {
  const worst = new Map<string, IndexOutcome>();
  for (const outcome of items.map(outcomeOf)) {
    const known = worst.get(outcome.id);
    if (!known || badness[outcome.status] > badness[known.status]) worst.set(outcome.id, outcome);
  }
  return [...worst.values()];
}

const badness = { indexed: 0, poisoned: 1, retry: 2 };

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

function bulkAction(log: LogToStore, index: string): string {
  return JSON.stringify({
    index: {
      _index: index,
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

/** What the index keeps of a log, and gives back: its fields, and what comparisons need. */
export function storedDocument(log: LogToStore): Record<string, unknown> {
  const { reindexed: _, ...fields } = log as LogToStore & { reindexed?: boolean };
  return { ...fields, check: idCheck(log.id) };
}

/** The document of a log: what is kept, and what only searches need. */
export function indexDocument(log: LogToStore): string {
  const metadata = [...leaves(log.metadata ?? "{}")];
  // Each only once: what repeats adds nothing to a search.
  const values = new Set([
    ...textFields.map((field) => log[field]),
    ...metadata.map((leaf) => leaf.value),
    ...[log.before_state, log.after_state, log.targets].flatMap((text) =>
      [...leaves(text ?? "{}")].map((leaf) => leaf.value),
    ),
  ]);
  values.delete(null);
  // A long path stands before each of its values: to digest them all would take seconds for one log.
  const pairs = new Set(
    metadata
      .filter(({ path }) => path.length <= maxMetadataPath)
      .map(({ path, value }) => metadataPair(path, value)),
  );
  return JSON.stringify({
    ...storedDocument(log),
    target_ids: targetIds(log.targets ?? "[]"),
    metadata_pairs: [...pairs],
    text: [...values],
  });
}

function targetIds(targets: string): string[] {
  return [...leaves(targets)].filter((leaf) => leaf.path === "id").map((leaf) => leaf.value);
}
