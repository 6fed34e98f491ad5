import { sql } from "drizzle-orm";
import { afterEach, describe, expect, test, vi } from "vitest";
import { connectDatabase, inTenant, SettingsChanged, sqlState } from "../../db/client.ts";
import { defaultSettings, type TenantSettings } from "../../events/tenant-settings.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { knownSettings, withSettings } from "../../worker/tenants/known-settings.ts";
import { callerOf, entry, newTenant } from "../journeys/api.ts";
import { rowsOf } from "./database.ts";
import { workerEnv, workersWith } from "./tools.ts";
import { roundTrips } from "./round-trips.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

const masking = { keys: [{ key: "nickname", how: "full" }] };
const setMasking = (tenant: string, value: object | null) =>
  rowsOf(sql`
    update tenants set masking = ${value === null ? null : JSON.stringify(value)}::json
    where id = ${tenant} returning settings_version as version`);

describe("the settings that an isolate knows of a tenant", () => {
  const writes = [
    ["/api/v1/logs", entry()],
    ["/api/v1/logs", entry({ event_id: "e" })],
    ["/api/v1/logs/bulk", { logs: [entry(), entry()] }],
    ["/api/v1/logs/export", {}],
  ] as const;

  test.each(writes)(
    "cost POST %s of %j a round trip after a change, and only then",
    async (path, body) => {
      const tenant = newTenant();
      const caller = callerOf(workersWith({}), { tenant_id: tenant });
      const write = () => roundTrips(tenant, () => caller.post(path, body));
      expect(await write()).toBe(1);
      await caller.create();
      expect(await write()).toBe(1);
      await setMasking(tenant, masking);
      expect(await write()).toBe(2);
      expect(await write()).toBe(1);
      await setMasking(tenant, null);
      expect(await write()).toBe(2);
      expect(await write()).toBe(1);
    },
  );

  test("are met by a request under a key that is done once all the same", async () => {
    const tenant = newTenant();
    const caller = callerOf(workersWith({}), { tenant_id: tenant });
    await caller.create();
    await setMasking(tenant, masking);
    const key = { "Idempotency-Key": "k" };
    const [first, again] = [
      await caller.call("POST", "/api/v1/logs", entry(), key),
      await caller.call("POST", "/api/v1/logs", entry(), key),
    ];
    expect(first.headers.get("Idempotency-Replayed")).toBeNull();
    expect(again.headers.get("Idempotency-Replayed")).toBe("true");
    expect(again.body).toEqual(first.body);
    const rows = await rowsOf(sql`select id from audit_logs where tenant_id = ${tenant}`);
    expect(rows).toHaveLength(2);
  });

  const db = connectDatabase(requireSection(parseConfig(workerEnv), "database"));
  const admission = { issuedAt: Infinity, mustBeKnown: false };

  test("are handed over until they stay as they are, three times at most", async () => {
    const tenantId = newTenant();
    const scope = { tenantId, userId: null, admission };
    await rowsOf(sql`insert into tenants (id) values (${tenantId})`);
    const seen: TenantSettings[] = [];
    const changing = withSettings(scope, async (settings, assuming) => {
      seen.push(settings);
      await setMasking(tenantId, { keys: [{ key: `k${seen.length}`, how: "full" }] });
      return inTenant(db, assuming, [db.execute(sql`select 1`)]);
    });
    await expect(changing).rejects.toThrow(SettingsChanged);
    expect(seen).toEqual([
      defaultSettings,
      ...[1, 2].map((n) => ({ version: n, masking: { keys: [{ key: `k${n}`, how: "full" }] } })),
    ]);
    expect(knownSettings(tenantId)?.version).toBe(3);
  });

  /** A piece of work whose tenant has these settings, as long as it is asked. */
  const workOf = (now: () => TenantSettings) => async (assumed: TenantSettings) => {
    if (assumed.version !== now().version) throw new SettingsChanged(now());
    return assumed.version;
  };
  const versionOf = (version: number): TenantSettings => ({ version, masking: null });

  test("are not put back by an answer that came late, but where the database was", async () => {
    const scope = { tenantId: newTenant(), userId: null };
    const { promise: isLearnt, resolve: learn } = Promise.withResolvers<void>();
    const late = withSettings(scope, async (assumed) => {
      if (assumed.version === 1) return;
      await isLearnt;
      throw new SettingsChanged(versionOf(1));
    });
    await withSettings(
      scope,
      workOf(() => versionOf(2)),
    );
    learn();
    await late;
    expect(knownSettings(scope.tenantId)?.version).toBe(2);
    // As after a restore from a backup.
    await withSettings(
      scope,
      workOf(() => versionOf(1)),
    );
    expect(knownSettings(scope.tenantId)?.version).toBe(1);
  });

  test("are those of the last thousand tenants that have any", async () => {
    const base = newTenant();
    for (let n = 0; n < 1_001; n++) {
      const scope = { tenantId: `${base}-${n}`, userId: null };
      await withSettings(
        scope,
        workOf(() => versionOf(1)),
      );
    }
    const known = Array.from({ length: 1_001 }, (_, n) => knownSettings(`${base}-${n}`));
    expect(known.filter((settings) => settings === undefined)).toHaveLength(1);
    expect(known[0]).toBeUndefined();
  });

  test("are looked at by no request that does not go by them", async () => {
    const tenantId = newTenant();
    const scope = { tenantId, userId: null, admission };
    await rowsOf(sql`insert into tenants (id) values (${tenantId})`);
    await setMasking(tenantId, masking);
    await inTenant(db, scope, [db.execute(sql`select 1`)]);
    // As the release before asks.
    await inTenant(db, { tenantId, userId: null }, [
      db.execute(sql`select admit('infinity'::timestamptz, true)`),
    ]);
    const wrong = inTenant(db, { tenantId, userId: null }, [
      db.execute(sql`select admit('infinity'::timestamptz, true, 0)`),
    ]);
    await expect(wrong).rejects.toThrow(SettingsChanged);
    expect(sqlState(await wrong.catch((error: unknown) => error))).toBeUndefined();
  });

  test("have a new version with each change, and with nothing else", async () => {
    const id = newTenant();
    await rowsOf(sql`insert into tenants (id) values (${id})`);
    const versions = [
      await setMasking(id, masking),
      await setMasking(id, masking),
      await rowsOf(
        sql`update tenants set name = 'x' where id = ${id} returning settings_version as version`,
      ),
      await setMasking(id, {}),
      await setMasking(id, null),
    ];
    expect(versions.flat().map((row) => row["version"])).toEqual([1, 1, 1, 2, 3]);
  });
});
