import { gunzipSync } from "node:zlib";
import { sql } from "drizzle-orm";
import { connectS3 } from "../../aws/s3.ts";
import { exportMessage, type ExportTools } from "../../consumers/exporter/export-message.ts";
import { streamedBody } from "../../consumers/exporter/streamed-body.ts";
import type { Outcome } from "../../consumers/settle-messages.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { createLogger } from "../../platform/logger.ts";
import { callerOf, type Client, newTenant } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { exportAnswer, start } from "./export-calls.ts";
import { newQueue, sqs } from "./queues.ts";
import { workerEnv, workersWith } from "./tools.ts";

export const s3Config = requireSection(parseConfig(workerEnv), "s3");
/** As the exporter has it. */
export const realS3 = connectS3(s3Config, { retryMs: 10, bodyOf: streamedBody });

const tenants: string[] = [];
const metadata = JSON.stringify({ text: "0123456789abcdef".repeat(13_000) });

/**
 * An export on a queue that only the test reads; of 60 rows, three parts of 5 MiB and more: 26 rows fill one.
 * Its logs are not indexed: removeLargeLogs takes them away.
 *
 * @param changes of the Worker's variables
 * @param wanted besides the columns
 */
export async function largeExport(
  changes: Record<string, string> = {},
  wanted: Record<string, unknown> = {},
  rows = 60,
) {
  const { url, deadLetters } = await newQueue();
  const worker = workersWith({ SQS_EXPORT_QUEUE_URL: url, ...changes });
  const tenant = newTenant();
  tenants.push(tenant);
  const caller = callerOf(worker, { tenant_id: tenant });
  await rowsOf(sql`
    insert into audit_logs (
      id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type,
      resource_type, resource_id, metadata
    )
    select audit_log_id(at, n), ${tenant}, at, at, 'test', 'document.opened', 'INFO', 'user',
      'document', n::text, ${metadata}::json
    from generate_series(0, ${rows}::integer - 1) as n,
      (select date_trunc('milliseconds', clock_timestamp()) as at) as stamp`);
  const { id } = await start(caller, { columns: ["id", "resource_id", "metadata"], ...wanted });
  return { url, deadLetters, caller, id };
}

/** What works for all tenants would go through them, and bring them into the index, for the tests after these. */
export const removeLargeLogs = () =>
  rowsOf(
    sql`delete from audit_logs where tenant_id = any(${sql.param(tenants.splice(0))}::text[])`,
  );

export const toolsOf = (url: string, changes: Partial<ExportTools> = {}): ExportTools => ({
  db: ownerOf(),
  s3: realS3,
  sqs,
  queueUrl: url,
  search: undefined,
  logger: createLogger("test", "ERROR"),
  ...changes,
});

/** Takes one message and works on it; what becomes of the message is carried out. */
export async function work(url: string, tools: ExportTools): Promise<Outcome["to"] | "none"> {
  const [message] = await sqs.receive(url, 60, 1);
  if (!message) return "none";
  const outcome = await exportMessage(message, tools);
  if (outcome.to === "retry") await sqs.retryLater(url, [{ message, delaySeconds: 0 }]);
  else await sqs.delete(url, [message]);
  return outcome.to;
}

export async function stateOf(caller: Client, id: string) {
  return exportAnswer.parse((await caller.get(`/api/v1/logs/export/${id}`)).body).data;
}

export async function workUntilOver(url: string, tools: ExportTools, caller: Client, id: string) {
  for (let n = 0; n < 30; n++) {
    const state = await stateOf(caller, id);
    if (!["PENDING", "IN_PROGRESS"].includes(state.status)) return state;
    await work(url, tools);
  }
  throw new Error("The export was not over after 30 slices.");
}

/** A file's text, unpacked. */
export async function textOf(url: unknown, compression = "none"): Promise<string> {
  const bytes = await (await fetch(String(url))).arrayBuffer();
  // Not by a DecompressionStream: it takes one gzip member only.
  return new TextDecoder().decode(compression === "none" ? bytes : gunzipSync(bytes));
}
export const expireLease = (id: string) =>
  rowsOf(
    sql`update export_pipelines set lease_until = now() - interval '1 second' where id = ${id}`,
  );

/** Where S3 has what there is of an export. */
export async function uploadOf(id: string): Promise<{ key: string; uploadId: string }> {
  const [row] = await rowsOf(
    sql`select object_key, upload_id from export_pipelines where id = ${id}`,
  );
  return { key: String(row?.["object_key"]), uploadId: String(row?.["upload_id"]) };
}

/** What the file must be, from the database. */
export async function expectedText(id: string): Promise<string> {
  const rows = await rowsOf(sql`
    select l.id, l.resource_id, l.metadata::text as metadata from audit_logs l
    join export_pipelines e on e.tenant_id = l.tenant_id where e.id = ${id} and l.id < e.upper_id order by l.id`);
  const lines = rows.map(
    (row) =>
      `${row["id"]},${row["resource_id"]},"${String(row["metadata"]).replaceAll('"', '""')}"\r\n`,
  );
  return `id,resource_id,metadata\r\n${lines.join("")}`;
}

export async function waitFor(isSo: () => Promise<boolean>): Promise<void> {
  for (let n = 0; n < 100; n++) {
    if (await isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("It did not happen in 5 s.");
}

/** Another message for the export, as the sweep or a second delivery would bring it. */
export async function sendAgain(url: string, caller: Client, id: string): Promise<void> {
  const { tenant_id: tenant } = await stateOf(caller, id);
  const body = JSON.stringify({
    v: 1,
    type: "export",
    tenant_id: tenant,
    export_id: id,
    request_id: "again",
  });
  await sqs.send(url, [{ body, groupId: "g" }]);
}
