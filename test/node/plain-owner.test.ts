import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createApiKey, findApiKey, listApiKeys, touchApiKey } from "../../db/api-keys.ts";
import { asRole, connectDatabase, inTenant } from "../../db/client.ts";
import { migrateDatabase } from "../../db/migrate.ts";
import {
  deleteOutboxRows,
  leaseOverdue,
  readPendingLogs,
  recordIndexFailure,
} from "../../db/outbox.ts";
import { readLog } from "../../db/read-logs.ts";
import { readSettledMark } from "../../db/settled-mark.ts";
import { changeTenant } from "../../db/tenants.ts";
import { writeLogs } from "../../db/write-logs.ts";
import { startNeonEndpoint, type NeonEndpoint } from "../../local/neon-endpoint.ts";
import { type Postgres, startPostgres } from "../../local/postgres.ts";
import { newLog } from "./own-backends.ts";

const scope = { tenantId: "acme", userId: null };

let dataDir = "";
let postgres: Postgres;
let neon: NeonEndpoint;
let url = "";

/** A server of its own: its database belongs to one who may create roles, and is no superuser. */
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "audit-log-owner-"));
  postgres = await startPostgres({
    dataDir: join(dataDir, "postgres"),
    persistent: false,
    fast: true,
  });
  const client = new pg.Client(postgres.url);
  await client.connect();
  await client.query("create role plain login createrole password 'plain'");
  await client.query("create database plain owner plain");
  await client.end();
  const plain = new URL(postgres.url);
  Object.assign(plain, { username: "plain", password: "plain", pathname: "/plain" });
  url = plain.href;
  neon = await startNeonEndpoint({ databaseUrl: postgres.url });
});

afterAll(async () => {
  await neon.stop();
  await postgres.stop();
  await rm(dataDir, { recursive: true, force: true });
});

test("an owner who is no superuser migrates, and every role does its work", async () => {
  await migrateDatabase(url);
  const db = connectDatabase({ url, fetchEndpoint: neon.url });
  const stored = await writeLogs(db, scope, [newLog(), newLog()]);
  const ids = stored.map((one) => one.id);
  expect(ids).toHaveLength(2);
  const [first = "", second = ""] = ids;
  expect((await readLog(db, scope, first))?.log.id).toBe(first);
  const mark = await readSettledMark(db, scope.tenantId);
  expect(mark.indexedThrough).toBeLessThanOrEqual(mark.safeTime);

  const keys = ids.map((logId) => ({ tenantId: "acme", logId }));
  expect((await readPendingLogs(db, keys)).map((one) => one.id)).toEqual(ids);
  expect(await leaseOverdue(db, 10)).toEqual([]);
  await deleteOutboxRows(db, [{ tenantId: "acme", logId: first, rev: 1 }]);
  await recordIndexFailure(db, { tenantId: "acme", logId: second, rev: 1 }, "for the test");
  expect((await readSettledMark(db, scope.tenantId)).unsearchable).toBe(1);
  await asRole(db, "audit_maintenance", [db.execute(sql`select ensure_partition()`)]);
  const hash = "ab".repeat(32);
  const key = { name: "k", roles: ["writer" as const], expiresAt: null, createdBy: "alice", hash };
  const once = { sub: "alice", scope: "POST /keys", key: "k", bodyMac: "m" };
  const made = await createApiKey(db, scope, key, once, newLog());
  const id = made.outcome === "done" ? made.row.id : "";
  expect(await findApiKey(db, hash)).toMatchObject({ id, tenantId: "acme" });
  await touchApiKey(db, "acme", id);
  expect((await listApiKeys(db, scope))[0]?.lastUsedAt).not.toBeNull();
  const log = newLog({ action: "audit_log.settings_changed" });
  expect((await changeTenant(db, "acme", { name: "Acme" }, log)).row?.name).toBe("Acme");
});

test("an owner without a role sees nothing of any tenant", async () => {
  const db = connectDatabase({ url, fetchEndpoint: neon.url });
  const rows = await db.execute(sql`select count(*)::int as n from audit_logs`);
  expect(rows.rows).toEqual([{ n: 0 }]);
  const [own] = await inTenant(db, scope, [
    db.execute(sql`select count(*)::int as n from audit_logs`),
  ]);
  expect(own.rows).toEqual([{ n: 4 }]);
});
