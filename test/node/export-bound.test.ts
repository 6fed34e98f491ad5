import { randomUUID } from "node:crypto";
import pg from "pg";
import { afterAll, expect, inject, test } from "vitest";
import { connectDatabase } from "../../db/client.ts";
import { exportRange, isSettled, readRange } from "../../db/export-pages.ts";
import { startExport } from "../../db/exports.ts";
import { newLog } from "./own-backends.ts";
import "../provided.ts";
import { noFilter } from "../no-filter.ts";

const { DATABASE_URL: url = "", NEON_FETCH_ENDPOINT: fetchEndpoint = "" } = inject("workerEnv");
const db = connectDatabase({ url, fetchEndpoint });
const client = new pg.Client(url);

afterAll(() => client.end());

test("an export waits for a log that was stored before it was asked for and commits after", async () => {
  const tenantId = `bound-${randomUUID()}`;
  await client.connect();
  await client.query("begin");
  await client.query("select lock_write()");
  const { rows } = await client.query<{ id: string }>(
    `with stamp as materialized (select date_trunc('milliseconds', clock_timestamp()) as at)
     insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, resource_type, resource_id)
     select audit_log_id(at, 0), $1, at, at, 'test', 'a', 'INFO', 'user', 'r', '1' from stamp returning id`,
    [tenantId],
  );
  const started = await startExport(
    db,
    { tenantId, userId: null },
    {
      format: "csv",
      compression: "none",
      columns: ["id"],
      filters: noFilter,
      shownFilters: {},
      requestedBy: "alice",
    },
    { sub: "alice", scope: "POST /logs/export", key: "k", bodyMac: "mac" },
    newLog(),
  );
  if (started.outcome !== "done") throw new Error(started.outcome);
  const { row } = started;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(await isSettled(db, tenantId, row.upperId, false)).toBe(false);
  expect((await readRange(db, exportRange(row), [row.upperId], 10)).chunks).toEqual([]);

  await client.query("commit");
  expect(await isSettled(db, tenantId, row.upperId, false)).toBe(true);
  const { chunks } = await readRange(db, exportRange(row), [row.upperId], 10);
  expect(chunks.map(({ lines }) => new TextDecoder().decode(lines))).toEqual([
    `${rows[0]?.id}\r\n`,
  ]);
});
