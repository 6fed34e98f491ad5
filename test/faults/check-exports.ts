import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { gunzipSync } from "node:zlib";
import { z } from "zod";
import { auditLogJson } from "../../events/audit-log.ts";
import { csvHeader, exportColumns } from "../../events/csv-columns.ts";
import { exportManifest } from "../../events/export-manifest.ts";
import { verifyExport } from "../../local/verify-export.ts";
import type { ApiClient } from "./api-client.ts";
import type { Check } from "./check.ts";
import type { AskedExport, ExportFilters } from "./export-clients.ts";
import { readCsv } from "./read-csv.ts";
import type { StoredLog } from "./stored-logs.ts";
import type { World } from "./world.ts";

const rowsSchema = z.array(
  z.object({
    tenant_id: z.string(),
    id: z.string(),
    status: z.string(),
    error_message: z.string().nullable(),
    key: z.string(),
    created_at: z.date(),
  }),
);
type Row = z.infer<typeof rowsSchema>[number];

const answer = z.object({
  data: z.object({
    status: z.string(),
    format: z.enum(["csv", "jsonl"]),
    compression: z.enum(["none", "gzip"]),
    file_url: z.string(),
    manifest_url: z.string(),
  }),
});

/** Every export: whether it is over, and whether a file that is DONE has its rows, all of them and no other. */
export async function checkExports(
  world: World,
  clients: readonly ApiClient[],
  asked: readonly AskedExport[],
  stored: readonly StoredLog[],
  poisoned: ReadonlySet<string>,
  dir: string,
): Promise<Check[]> {
  const { rows } = await world.database.query(
    `select export_pipelines.tenant_id, id, status, error_message, key, export_pipelines.created_at
     from export_pipelines left join idempotency_keys
       on (idempotency_keys.tenant_id, ids[1], scope) = (export_pipelines.tenant_id, id, 'POST /logs/export')`,
  );
  const exports = rowsSchema.parse(rows);
  const over: string[] = [];
  const files: string[] = [];
  const once: string[] = [];
  for (const [key, same] of Map.groupBy(exports, (row) => row.key))
    if (same.length > 1) once.push(`the key ${key} has ${same.length} exports`);
  for (const one of asked)
    if (one.id !== undefined && !exports.some(({ id, key }) => id === one.id && key === one.key))
      once.push(`the export ${one.id} was answered with 202, and is not there`);

  const done = exports.filter(({ status }) => status === "DONE");
  for (const row of exports) {
    const one = asked.find(({ key }) => key === row.key);
    const client = clients.find(({ tenant }) => tenant === row.tenant_id);
    if (!one || !client) once.push(`the export ${row.id} was never asked for`);
    else if (row.status === "CANCELLED" && one.isCancelAsked) continue;
    else if (row.status !== "DONE")
      over.push(`the export ${row.id} is ${row.status}: ${row.error_message}`);
    else {
      const expected = stored.filter((log) => isIn(row, one, log, poisoned));
      const missing = [...one.before].filter((id) => {
        const log = stored.find((row) => row.id === id);
        return log && matches(one.filters, log, poisoned) && !expected.includes(log);
      });
      for (const id of missing)
        files.push(`the export ${row.id} was asked for after log ${id}, and dated before it`);
      const wrong = await wrongWithFile(client, row, expected, join(dir, row.id));
      if (wrong) files.push(`the export ${row.id} (${JSON.stringify(one.filters)}): ${wrong}`);
    }
  }
  const starts = stored.filter(({ action }) => action === "audit_log.export_started");
  const startsOf = Map.groupBy(starts, (log) => log.resource_id);
  const recorded = exports
    .filter(({ id }) => startsOf.get(id)?.length !== 1)
    .map(({ id }) => `the export ${id} has ${startsOf.get(id)?.length ?? 0} logs of its start`);
  for (const id of startsOf.keys())
    if (!exports.some((row) => row.id === id))
      recorded.push(`a log tells of the export ${id}, which is not there`);
  return [
    {
      name: "every export has the log of its start, exactly once",
      checked: exports.length,
      broken: recorded,
    },
    { name: "a repeated request starts no second export", checked: asked.length, broken: once },
    { name: "every export is over", checked: exports.length, broken: over },
    {
      name: "every DONE export has exactly its rows, and its manifest's digests",
      checked: done.length,
      broken: files,
    },
  ];
}

/** Stored in the millisecond of the request or before, by the database's clock, however late it was committed. */
function isIn(row: Row, one: AskedExport, log: StoredLog, poisoned: ReadonlySet<string>): boolean {
  return (
    log.tenant_id === row.tenant_id &&
    Date.parse(log.created_at) <= row.created_at.getTime() &&
    matches(one.filters, log, poisoned)
  );
}

function matches(
  { search, ...exact }: ExportFilters,
  log: StoredLog,
  poisoned: ReadonlySet<string>,
): boolean {
  if (search !== undefined && (poisoned.has(log.id) || !hasWord(log, search))) return false;
  return Object.entries(exact).every(([name, value]) => Reflect.get(log, name) === value);
}

/** Clients write these words into descriptions only; the log of an export that searched for one has it as well. */
function hasWord({ action, description, metadata }: StoredLog, word: string): boolean {
  const isOwn = action.startsWith("audit_log.");
  return (isOwn ? metadata : description)?.includes(word) === true;
}

/** Downloads it as its user would, by the links of the API. */
async function wrongWithFile(
  client: ApiClient,
  row: Row,
  expected: readonly StoredLog[],
  file: string,
): Promise<string | undefined> {
  const shown = await client.call("GET", `/logs/export/${row.id}`);
  const { data } = answer.parse(JSON.parse(shown.text));
  const manifest = exportManifest.parse(await (await fetch(data.manifest_url)).json());
  const bytes = Buffer.from(await (await fetch(data.file_url)).arrayBuffer());
  await writeFile(file, bytes);
  const wrong = await verifyExport(file, manifest);
  if (wrong) return wrong;
  const text = (data.compression === "gzip" ? gunzipSync(bytes) : bytes).toString();
  if (manifest.rows !== expected.length)
    return `it has ${manifest.rows} rows, not ${expected.length}${idsOf(expected, text)}`;
  const isSame = data.format === "csv" ? isCsvOf(text, expected) : text === jsonLines(expected);
  return isSame ? undefined : "a row is not what Postgres has";
}

function idsOf(expected: readonly StoredLog[], text: string): string {
  const missing = expected.filter(({ id }) => !text.includes(id)).map(({ id }) => id);
  return missing.length === 0 ? "" : `; missing ${missing.slice(0, 5).join(", ")}`;
}

function jsonLines(logs: readonly StoredLog[]): string {
  return logs.map((log) => `${auditLogJson(log, exportColumns)}\n`).join("");
}

function isCsvOf(text: string, logs: readonly StoredLog[]): boolean {
  const header = csvHeader(exportColumns);
  const values = logs.map((log) => exportColumns.map((column) => log[column]));
  return text.startsWith(header) && isDeepStrictEqual(readCsv(text.slice(header.length)), values);
}
