import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "@opensearch-project/opensearch";
import pg from "pg";
import { connectDatabase, type Database } from "../../db/client.ts";
import { migrateDatabase } from "../../db/migrate.ts";
import { deleteOutboxRows, readPendingLogs } from "../../db/outbox.ts";
import { writeLogs } from "../../db/write-logs.ts";
import type { NewAuditLog } from "../../events/audit-log.ts";
import { startNeonEndpoint } from "../../local/neon-endpoint.ts";
import { startOpenSearch } from "../../local/opensearch.ts";
import { startPostgres } from "../../local/postgres.ts";
import type { DatabaseConfig } from "../../platform/config.ts";
import { connectSearch } from "../../search/client.ts";
import { aliasesOf, indexLogs, refreshIndices } from "../../search/index-logs.ts";

export type OwnBackends = {
  db: Database;
  /** The same server by another name: a replica that has replayed everything. */
  replica: DatabaseConfig & { fetchEndpoint: string };
  search: Client;
  pool: pg.Pool;
  query: <T extends pg.QueryResultRow>(text: string, values?: unknown[]) => Promise<T[]>;
  stop: () => Promise<void>;
};

/** A Postgres and an OpenSearch of one test file's own, for tests that compare all there is, or lose it. */
export async function startOwnBackends(): Promise<OwnBackends> {
  const dataDir = await mkdtemp(join(tmpdir(), "audit-log-own-"));
  const [postgres, openSearch] = await Promise.all([
    startPostgres({ dataDir: join(dataDir, "postgres"), persistent: false, fast: true }),
    startOpenSearch({ dataDir: join(dataDir, "opensearch"), fast: true }),
  ]);
  if ("missing" in openSearch) throw new Error(openSearch.missing);
  await migrateDatabase(postgres.url);
  const readUrl = postgres.url.replace("127.0.0.1", "localhost");
  const neon = await startNeonEndpoint({ databaseUrl: postgres.url, readUrl });
  const pool = new pg.Pool({ connectionString: postgres.url, max: 20 });
  // The server ends what is still open when it stops.
  pool.on("error", () => {});
  return {
    db: connectDatabase({ url: postgres.url, fetchEndpoint: neon.url }),
    replica: { url: readUrl, fetchEndpoint: neon.url },
    search: connectSearch({ node: openSearch.url, auth: undefined }, 10_000),
    pool,
    query: async (text, values = []) => (await pool.query(text, values)).rows,
    async stop() {
      await pool.end();
      await neon.stop();
      await Promise.all([postgres.stop(), openSearch.stop()]);
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export const newLog = (fields: Partial<NewAuditLog> = {}): NewAuditLog => ({
  action: "document.opened",
  severity: "INFO",
  outcome: null,
  actor_type: "user",
  actor_name: null,
  user_id: null,
  email: null,
  email_hash: null,
  session_id: null,
  request_id: null,
  ip_address: null,
  user_agent: null,
  resource_type: "document",
  resource_id: "1",
  resource_name: null,
  description: null,
  event_id: null,
  recorded_by: "alice",
  occurred_at: null,
  metadata: '{"n": 9007199254740993}',
  before_state: "{}",
  after_state: "{}",
  targets: "[]",
  truncated_fields: null,
  masked_fields: null,
  ...fields,
});

/** Stores logs as the API does, and returns their ids. */
export async function storeLogs(db: Database, tenantId: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let left = count; left > 0; left -= 100) {
    const logs = Array.from({ length: Math.min(left, 100) }, () => newLog());
    const stored = await writeLogs(db, { tenantId, userId: null }, logs);
    ids.push(...stored.map((log) => log.id));
  }
  return ids;
}

/** Does with the outbox what the indexer does, in its order, until nothing is left that it can take. */
export async function emptyOutbox({ db, search, query }: OwnBackends): Promise<void> {
  for (let rows = 1; rows > 0;) rows = await indexOnce(db, search, query);
}

async function indexOnce(
  db: Database,
  search: Client,
  query: OwnBackends["query"],
): Promise<number> {
  const pending = await query<{ tenant_id: string; log_id: string }>(
    "select tenant_id, log_id from pending_index order by log_id limit 500",
  );
  if (pending.length === 0) return 0;
  const keys = pending.map((row) => ({ tenantId: row.tenant_id, logId: row.log_id }));
  const logs = await readPendingLogs(db, keys);
  // Another one was faster.
  if (logs.length === 0) return 0;
  const outcomes = await indexLogs(search, logs);
  const failed = new Set(
    outcomes.filter((outcome) => outcome.status !== "indexed").map((outcome) => outcome.id),
  );
  const indexed = logs.filter((log) => !failed.has(log.id));
  await refreshIndices(search, new Set(indexed.flatMap(aliasesOf)));
  if (indexed.length > 0)
    await deleteOutboxRows(
      db,
      indexed.map((log) => ({ tenantId: log.tenant_id, logId: log.id, rev: log.rev })),
    );
  return indexed.length;
}
