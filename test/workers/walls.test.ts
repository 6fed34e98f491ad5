import { sql } from "drizzle-orm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createApiKey, listApiKeys, revokeApiKey, touchApiKey } from "../../db/api-keys.ts";
import { countRange, exportRange, readLinesById } from "../../db/export-pages.ts";
import { claimExport } from "../../db/export-work.ts";
import { cancelExport, retryExport } from "../../db/change-export.ts";
import { listExports, readExport, startExport } from "../../db/exports.ts";
import { countLogsInPostgres, listLogs } from "../../db/list-logs.ts";
import { readLog } from "../../db/read-logs.ts";
import { recordRead } from "../../db/read-audits.ts";
import { readSettledMark } from "../../db/settled-mark.ts";
import { askForRemoval, countRemovable, readRemovable } from "../../db/retention.ts";
import { changeOwnTenant, readOwnTenant } from "../../db/tenants.ts";
import { writeLogs } from "../../db/write-logs.ts";
import { writeLogsOnce } from "../../db/write-logs-once.ts";
import { firstIdAt } from "../../events/ids.ts";
import type { PageRequest } from "../../events/log-filter.ts";
import type { TenantScope } from "../../events/tenant-scope.ts";
import { callerOf, newTenant } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { workers } from "./tools.ts";
import { withoutConditions } from "./without-conditions.ts";
import { noFilter } from "../no-filter.ts";

declare global {
  // oxlint-disable-next-line typescript/consistent-type-definitions -- only an interface can be added to
  interface ImportMeta {
    /** Vite's: the texts of files. */
    glob(
      pattern: string,
      options: { query: "?raw"; import: "default"; eager: true },
    ): Record<string, string>;
  }
}

const db = ownerOf();
// Theirs come first: the oldest of all is not ours.
const [theirs, mine] = [newTenant(), newTenant()];
const scope: TenantScope = { tenantId: mine, userId: null };
const user: TenantScope = { tenantId: mine, userId: "u_1" };

const firstPage: PageRequest = {
  order: "asc",
  size: 100,
  after: null,
  skip: 0,
  notBefore: 0,
  before: null,
};
const afterFirst = { ...firstPage, after: firstIdAt(0) };
const idempotencyKey = (key = "same", path = "test") => ({
  sub: "alice",
  scope: path,
  key,
  bodyMac: "mac",
});
const wanted = {
  format: "jsonl" as const,
  compression: "none" as const,
  columns: ["id"],
  filters: noFilter,
  shownFilters: {},
  requestedBy: "alice",
};
const newKey = () => ({
  hash: [...crypto.getRandomValues(new Uint8Array(32))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join(""),
  name: "k",
  roles: ["writer" as const],
  expiresAt: null,
  createdBy: "alice",
});

type Theirs = { log: string; export: string; key: string };
let of: Theirs;

async function makeTenant(tenant: string, more: object = {}, keys = ["same"]): Promise<Theirs> {
  const caller = callerOf(workers, { tenant_id: tenant });
  const [log = ""] = await caller.createAll([{ user_id: "u_1", ...more }, { user_id: "u_2" }]);
  const scopeOf = { tenantId: tenant, userId: null };
  for (const other of keys.slice(1))
    await startExport(db, scopeOf, wanted, idempotencyKey(other), await newLog(scopeOf));
  const started = await startExport(db, scopeOf, wanted, idempotencyKey(), await newLog(scopeOf));
  const key = await createApiKey(
    db,
    scopeOf,
    newKey(),
    idempotencyKey(keys.at(-1), "keys"),
    await newLog(scopeOf),
  );
  if (started.outcome !== "done" || key.outcome !== "done")
    throw new Error("The tenant was not made.");
  return { log, export: started.row.id, key: key.row.id };
}

beforeAll(async () => {
  // The event and the keys that the own tenant will use are taken there.
  of = await makeTenant(theirs, { event_id: "same" }, ["same", "new", "logs"]);
  await rowsOf(sql`update export_pipelines set status = 'FAILED' where id = ${of.export}`);
  await rowsOf(sql`update tenants set legal_hold = true where id = ${theirs}`);
  await makeTenant(mine);
});

afterAll(async () => {
  await rowsOf(sql`delete from retention_runs where tenant_id in (${mine}, ${theirs})`);
});

/** By the function's name: what it shows of a scope. */
const reads: Record<string, (as: TenantScope) => Promise<unknown>> = {
  listLogs: (as) => listLogs(db, as, noFilter, firstPage),
  "listLogs after a cursor": (as) => listLogs(db, as, noFilter, afterFirst),
  countLogsInPostgres: (as) => countLogsInPostgres(db, as, noFilter),
  readLog: async (as) => (await readLog(db, as, of.log))?.log.id,
  readSettledMark: async ({ tenantId }) => (await readSettledMark(db, tenantId)).oldest,
  listExports: async (as) => (await listExports(db, as, null, 100)).map((row) => row.id),
  readExport: async (as) => (await readExport(db, as, of.export))?.id,
  listApiKeys: async (as) => (await listApiKeys(db, as)).map((key) => key.id),
  readOwnTenant: async (as) => (await readOwnTenant(db, as))?.id,
  countRemovable: (as) => {
    const run = { defaultDays: 1, position: firstIdAt(0), cutoff: Date.now() + 60_000 };
    return countRemovable(db, as, { ...run, tenantId: as.tenantId }, Date.now() + 5_000);
  },
  "countRange of an export": ({ tenantId }) => countRange(db, rangeOf(tenantId)),
  "readLinesById of an export": async ({ tenantId }) => {
    const { chunks, release } = await readLinesById(db, tenantId, rangeOf(tenantId), [of.log], 1);
    const rows = chunks.map((chunk) => chunk.rows);
    release();
    return rows;
  },
};

const rangeOf = (tenantId: string) =>
  exportRange({
    tenantId,
    format: "jsonl",
    columns: ["id"],
    filters: noFilter,
    lastId: null,
    upperId: firstIdAt(Date.now() + 60_000),
  });

const nothingChanged = { row: undefined, changed: false, ownId: undefined };

/** By the function's name: what it does where the ids and keys of another tenant are given to it, and answers. */
const writes: Record<string, [write: (as: TenantScope) => Promise<unknown>, answer: unknown]> = {
  cancelExport: [async (as) => cancelExport(db, as, of.export, await newLog()), nothingChanged],
  retryExport: [
    async (as) => retryExport(db, as, of.export, undefined, await newLog()),
    { outcome: "done", isReplay: false, ...nothingChanged },
  ],
  "retryExport under a key": [
    async (as) => retryExport(db, as, of.export, idempotencyKey("retry"), await newLog()),
    { outcome: "done", isReplay: false, ...nothingChanged },
  ],
  startExport: [
    async (as) => {
      const done = await startExport(db, as, wanted, idempotencyKey("new"), await newLog());
      return done.outcome === "done" && [done.row.tenantId, done.isReplay];
    },
    [mine, false],
  ],
  createApiKey: [
    async (as) => {
      const once = idempotencyKey("logs", "keys");
      const key = await createApiKey(db, as, newKey(), once, await newLog());
      return key.outcome === "done" && key.row.tenantId;
    },
    mine,
  ],
  revokeApiKey: [async (as) => revokeApiKey(db, as, of.key, await newLog()), undefined],
  recordRead: [
    async (as) => {
      const levels = { from: "searches", defaultLevel: "searches" } as const;
      const { id } = await recordRead(db, as, { log: await newLog(), mac: "same", ...levels });
      return id !== undefined;
    },
    true,
  ],
  touchApiKey: [({ tenantId }) => touchApiKey(db, tenantId, of.key), undefined],
  changeOwnTenant: [
    async (as) => {
      const changes = { tokensNotBefore: new Date(1_000) };
      return (await changeOwnTenant(db, as, changes, await newLog())).row?.id;
    },
    mine,
  ],
  // Theirs are under a legal hold: then nothing could be removed.
  readRemovable: [(as) => readRemovable(db, as, 90), expect.objectContaining({ tenantId: mine })],
  askForRemoval: [
    async (as) => (await askForRemoval(db, as, 90, await newLog())).run,
    expect.objectContaining({ tenantId: mine }),
  ],
  writeLogs: [async (as) => (await writeLogs(db, as, [await newLog()]))?.length, 1],
  writeLogsOnce: [
    async (as) => {
      const logs = [{ log: await newLog(), contentMac: "mac" }];
      const done = await writeLogsOnce(db, as, logs, idempotencyKey("logs"));
      return done.outcome === "done" && [done.made, done.isReplay];
    },
    [1, false],
  ],
  "claimExport of the exporter": [
    ({ tenantId }) => claimExport(db, tenantId, of.export),
    undefined,
  ],
};

/** Everything that is the other tenant's, as its owner sees it. */
async function allOfTheirs(): Promise<unknown> {
  const tables = [
    "audit_logs",
    "export_pipelines",
    "api_keys",
    "idempotency_keys",
    "event_ids",
    "retention_runs",
  ];
  const rows = await Promise.all([
    rowsOf(sql`select * from tenants where id = ${theirs}`),
    ...tables.map((table) =>
      rowsOf(
        sql`select t::text from ${sql.identifier(table)} t where tenant_id = ${theirs} order by 1`,
      ),
    ),
  ]);
  return rows;
}

describe("where the code forgets the tenant", () => {
  test.each(Object.entries(reads))("%s shows the own tenant's and no more", async (_, read) => {
    const expected = await read(scope);
    const { result, removed } = await withoutConditions(() => read(scope));
    expect(removed).toBeGreaterThan(0);
    expect(result).toEqual(expected);
  });

  test.each(Object.entries(reads))("%s would show others' without the policy", async (_, read) => {
    const expected = await read(scope);
    // A row of another test may be none that the code can read: it was given all the same.
    const shown = withoutConditions(() => read(scope), { policy: true });
    const { result } = await shown.catch((error: unknown) => ({ result: error }));
    expect(result).not.toEqual(expected);
  });

  const written = Object.entries(writes).map(([name, [write, answer]]) => ({
    name,
    write,
    answer,
  }));
  test.each(written)("$name changes nothing of another's", async ({ write, answer }) => {
    const before = await allOfTheirs();
    const { result } = await withoutConditions(() => write(scope));
    expect(result).toEqual(answer);
    expect(await allOfTheirs()).toEqual(before);
  });

  test("a change would reach another's without the policy", async () => {
    const before = await allOfTheirs();
    const log = await newLog();
    await withoutConditions(() => cancelExport(db, scope, of.export, log), { policy: true });
    expect(await allOfTheirs()).not.toEqual(before);
  });
});

describe("where the code forgets the user too", () => {
  test.each(["listLogs", "listLogs after a cursor", "countLogsInPostgres"])(
    "%s shows the user's own logs and no more",
    async (name) => {
      const read = reads[name];
      if (!read) throw new Error("unreachable");
      const expected = await read(user);
      expect(expected).not.toEqual(await read(scope));
      const { result } = await withoutConditions(() => read(user), { user: true });
      expect(result).toEqual(expected);
    },
  );

  test("readLog shows none of another user of the tenant", async () => {
    const other = await callerOf(workers, { tenant_id: mine }).create({ user_id: "u_2" });
    expect((await readLog(db, scope, other))?.log.id).toBe(other);
    const { result } = await withoutConditions(() => readLog(db, user, other), { user: true });
    expect(result).toBeUndefined();
  });
});

test("every function of db/ that is given a scope is among these", () => {
  const files = import.meta.glob("../../db/*.ts", {
    query: "?raw",
    import: "default",
    eager: true,
  });
  const given =
    /^export (?:async )?function (\w+)(?:<.*>)?\(\s*db: Database,\s*(?:scope|\{[^}]*\}): TenantScope/gm;
  const found = Object.values(files).flatMap((text) =>
    [...text.matchAll(given)].map(([, name = ""]) => name),
  );
  const names = [...Object.keys(reads), ...Object.keys(writes)];
  const covered = new Set(names.map((name) => name.split(" ")[0]));
  // What the others are made of.
  const parts = [
    "inTenant",
    "withMonth",
    "beginWrite",
    "makeOwnTenant",
    "keyStatements",
    "noteSettings",
    "storeChangedSettings",
    "recordRemoved",
  ];
  expect(found).toEqual(expect.arrayContaining(parts));
  expect(found.filter((name) => !covered.has(name) && !parts.includes(name))).toEqual([]);
});

/** What is stored, to be stored once more. */
async function newLog(as = scope) {
  const [log] = (await listLogs(db, as, noFilter, firstPage)).logs;
  if (!log) throw new Error("The tenant has no log.");
  return { ...log, email_hash: null, event_id: "same" };
}
