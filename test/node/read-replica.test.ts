import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, expect, inject, test } from "vitest";
import {
  asExporter,
  connectDatabase,
  connectReplica,
  type Database,
  inTenant,
  ReplicaBehind,
} from "../../db/client.ts";
import { databaseForExport, readWalPosition } from "../../db/export-replica.ts";
import { claimExport } from "../../db/export-work.ts";
import { startExport } from "../../db/exports.ts";
import { migrateDatabase } from "../../db/migrate.ts";
import { readSettledMark } from "../../db/settled-mark.ts";
import { writeLogs } from "../../db/write-logs.ts";
import type { PageRequest } from "../../events/log-filter.ts";
import { startNeonEndpoint, type NeonEndpoint } from "../../local/neon-endpoint.ts";
import { type Postgres, startPostgres } from "../../local/postgres.ts";
import type { Logger } from "../../platform/logger.ts";
import { findLogs, findStats } from "../../worker/logs/find-logs.ts";
import "../provided.ts";
import { startReplica } from "../tools/postgres-replica.ts";
import { newLog } from "./own-backends.ts";
import { noFilter } from "../no-filter.ts";

const firstPage: PageRequest = {
  order: "desc",
  size: 10,
  after: null,
  skip: 0,
  notBefore: 0,
  before: null,
};

let dataDir = "";
let primary: Postgres;
let replica: Postgres;
let neon: NeonEndpoint;
let db: Database;
let onReplica: pg.Client;
let tenantId = "";

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "audit-log-replica-"));
  const primaryDir = join(dataDir, "primary");
  // Not `fast`: without synchronous_commit what is committed reaches the replica half a second later.
  primary = await startPostgres({ dataDir: primaryDir, persistent: false });
  await migrateDatabase(primary.url);
  replica = await startReplica(primary, primaryDir, join(dataDir, "replica"));
  neon = await startNeonEndpoint({ databaseUrl: primary.url, readUrl: replica.url });
  db = connectDatabase({ url: primary.url, fetchEndpoint: neon.url });
  onReplica = new pg.Client(replica.url);
  await onReplica.connect();
});
afterAll(async () => {
  await onReplica?.end();
  await neon?.stop();
  await replica?.stop();
  await primary?.stop();
  await rm(dataDir, { recursive: true, force: true });
});
beforeEach(async () => {
  await onReplica.query("select pg_wal_replay_resume()");
  tenantId = `acme-${randomUUID()}`;
});

const replicaConfig = () => ({ url: replica.url, fetchEndpoint: neon.url });
const scope = () => ({ tenantId, userId: null });
const write = async () => (await writeLogs(db, scope(), [newLog()]))[0]?.id ?? "";

/** What a list asks: the settled mark of the primary, then the page. */
async function list() {
  const mark = await readSettledMark(db, tenantId);
  const warnings: string[] = [];
  const logger: Logger = {
    ...silent,
    warning: (event) => void warnings.push(event),
  };
  const backends = {
    db,
    replica: connectReplica(replicaConfig(), mark.walPosition),
    search: undefined,
    onDegraded: () => {},
    scope: scope(),
    logger,
  };
  const [page, stats] = [
    await findLogs(backends, noFilter, firstPage),
    await findStats(backends, noFilter),
  ];
  return { ids: page.logs.map((one) => one.id), total: stats.total, warnings };
}
const silent: Logger = { debug() {}, info() {}, warning() {}, error() {} };

async function caughtUp(): Promise<void> {
  const position = await readWalPosition(db, tenantId);
  await expect
    .poll(
      async () => {
        const found = await onReplica.query<{ is_there: boolean }>(
          "select pg_last_wal_replay_lsn() >= $1::pg_lsn as is_there",
          [position],
        );
        return found.rows[0]?.is_there;
      },
      { timeout: 10_000 },
    )
    .toBe(true);
}

test("a list comes from the replica once that has replayed what the mark promises", async () => {
  const id = await write();
  await caughtUp();
  // Asked again: vacuum and checkpoints move the primary's log too, and nobody waits for these to be written.
  const isWhole = { ids: [id], total: 1, warnings: [] };
  await expect.poll(list, { timeout: 10_000 }).toEqual(isWhole);
  const where = async () => {
    const { walPosition } = await readSettledMark(db, tenantId);
    const asked = connectReplica(replicaConfig(), walPosition);
    const [found] = await inTenant(asked, scope(), [
      asked.execute(sql`select pg_is_in_recovery() as is_replica`),
    ]);
    return found.rows;
  };
  await expect.poll(where, { timeout: 10_000 }).toEqual([{ is_replica: true }]);
});

test("a list shows no less than promised while the replica lags: the primary answers", async () => {
  const before = await write();
  await caughtUp();
  await onReplica.query("select pg_wal_replay_pause()");
  const after = await write();
  expect(await list()).toEqual({
    ids: [after, before],
    total: 2,
    warnings: ["replica_skipped", "replica_skipped"],
  });
  const { walPosition } = await readSettledMark(db, tenantId);
  const behind = connectReplica(replicaConfig(), walPosition);
  await expect(inTenant(behind, scope(), [behind.execute(sql`select 1`)])).rejects.toThrow(
    ReplicaBehind,
  );
  await onReplica.query("select pg_wal_replay_resume()");
  await expect.poll(async () => (await list()).warnings, { timeout: 10_000 }).toEqual([]);
});

test("a list comes from the primary where the replica does not answer", async () => {
  const id = await write();
  const { walPosition } = await readSettledMark(db, tenantId);
  const gone = connectReplica(
    { url: "postgres://u:p@127.0.0.1:9/audit", fetchEndpoint: "http://127.0.0.1:9/sql" },
    walPosition,
  );
  const warnings: string[] = [];
  const logger = { ...silent, warning: (event: string) => void warnings.push(event) };
  const found = await findLogs(
    { db, replica: gone, search: undefined, scope: scope(), logger, onDegraded: () => {} },
    noFilter,
    firstPage,
  );
  expect(found.logs.map((one) => one.id)).toEqual([id]);
  expect(warnings).toEqual(["replica_skipped"]);
});

test("the primary by another name answers as a replica that is never behind", async () => {
  const id = await write();
  const { walPosition } = await readSettledMark(db, tenantId);
  const same = connectReplica({ url: primary.url, fetchEndpoint: neon.url }, walPosition);
  const [found] = await inTenant(same, scope(), [
    same.execute(sql`select id from audit_logs where tenant_id = ${tenantId}`),
  ]);
  expect(found.rows).toEqual([{ id }]);
});

async function claimed() {
  const wanted = {
    format: "csv",
    compression: "none",
    columns: ["id"],
    filters: noFilter,
    shownFilters: {},
    requestedBy: "alice",
  } as const;
  const own = newLog({ action: "audit_log.export_started" });
  const key = { sub: "alice", scope: "POST /logs/export", key: randomUUID(), bodyMac: "mac" };
  const started = await startExport(db, scope(), wanted, key, own);
  if (started.outcome !== "done") throw new Error(started.outcome);
  const { row } = started;
  const claim = await claimExport(db, tenantId, row.id);
  return { tenantId, id: row.id, fence: claim?.row.fence ?? 0 };
}

const isReplica = async (asked: Database) => {
  const [found] = await asExporter(asked, tenantId, [
    asked.execute(sql`select pg_is_in_recovery() as is_replica`),
  ]);
  return found.rows[0]?.["is_replica"];
};

test("an export waits a moment for the replica, and reads from it what was stored before", async () => {
  await onReplica.query("select pg_wal_replay_pause()");
  const id = await write();
  const claim = await claimed();
  const position = await readWalPosition(db, tenantId);
  const choosing = databaseForExport(db, replicaConfig(), claim, position, 10_000);
  await new Promise((resolve) => setTimeout(resolve, 700));
  await onReplica.query("select pg_wal_replay_resume()");
  const chosen = await choosing;
  expect(await isReplica(chosen)).toBe(true);
  const [rows] = await asExporter(chosen, tenantId, [
    // The export's own log came after it.
    chosen.execute(sql`select id from audit_logs where action <> 'audit_log.export_started'`),
  ]);
  expect(rows.rows).toEqual([{ id }]);
});

test("an export reads from the primary where the replica stays behind, or does not answer", async () => {
  await caughtUp();
  await onReplica.query("select pg_wal_replay_pause()");
  await write();
  const claim = await claimed();
  const position = await readWalPosition(db, tenantId);
  expect(await isReplica(await databaseForExport(db, replicaConfig(), claim, position, 600))).toBe(
    false,
  );
  const gone = { url: "postgres://u:p@127.0.0.1:9/audit", fetchEndpoint: "http://127.0.0.1:9/sql" };
  expect(await databaseForExport(db, gone, claim, position, 0)).toBe(db);
  expect(await databaseForExport(db, undefined, claim, position)).toBe(db);
});

test("an export never reads from a database that is no replica of this one", async () => {
  const claim = await claimed();
  const position = await readWalPosition(db, tenantId);
  // Migrated, not in recovery, and knows nothing of this export.
  const other = {
    url: inject("workerEnv")["DATABASE_URL"] ?? "",
    fetchEndpoint: inject("workerEnv")["NEON_FETCH_ENDPOINT"],
  };
  expect(await databaseForExport(db, other, claim, position, 0)).toBe(db);
});
