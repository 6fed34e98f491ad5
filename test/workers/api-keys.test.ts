import { sql } from "drizzle-orm";
import { afterEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { inTenant } from "../../db/client.ts";
import {
  callerOf,
  type Client,
  entry,
  expectProblem,
  newTenant,
  type Target,
} from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { roundTrips } from "./round-trips.ts";
import { workers, workersWith } from "./tools.ts";

const keyFields = {
  id: z.uuid(),
  name: z.string(),
  roles: z.array(z.string()),
  created_at: z.iso.datetime(),
  created_by: z.string(),
  expires_at: z.string().nullable(),
  last_used_at: z.string().nullable(),
  revoked_at: z.string().nullable(),
};
const made = z.strictObject({ data: z.strictObject({ ...keyFields, key: z.string() }) });
const revoked = z.strictObject({ data: z.strictObject(keyFields) });
const list = z.strictObject({ items: z.array(z.strictObject(keyFields)) });

const pathOf = (tenant: string) => `/api/v1/tenants/${tenant}/keys`;
const adminOf = (tenant: string, target = workers) => callerOf(target, { tenant_id: tenant });

/** Who calls with an API key. */
const keyCaller = (key: string, target: Target = workers): Client =>
  callerOf({ ...target, token: async () => key }, {});

async function newKey(tenant: string, body: object = {}) {
  const answer = await adminOf(tenant).post(pathOf(tenant), {
    name: "billing",
    roles: ["writer", "auditor"],
    ...body,
  });
  expect(answer.status, answer.text).toBe(201);
  return { answer, ...made.parse(answer.body).data };
}

/** Lets time pass in the Worker. */
function later(ms: number): void {
  const now = Date.now() + ms;
  vi.spyOn(Date, "now").mockImplementation(() => now);
}
afterEach(() => {
  vi.restoreAllMocks();
});

describe("an API key", () => {
  test("stores logs in its tenant and in its own name, and reads them", async () => {
    const tenant = newTenant();
    const { key, id } = await newKey(tenant);
    const caller = keyCaller(key);
    const log = await caller.create();
    const { body } = await caller.get(`/api/v1/logs/${log}`);
    expect(body).toMatchObject({ data: { tenant_id: tenant, recorded_by: id } });
    await caller.settled();
    const { items } = await caller.list({ action: "document.opened" });
    expect(items.map((item) => item.id)).toEqual([log]);
    expect((await caller.get("/health")).body).toMatchObject({ checks: expect.anything() });
  });

  test("is made and shown by one transaction: an answer that it failed is true", async () => {
    const tenant = newTenant();
    const admin = adminOf(tenant, workersWith({}));
    await newKey(tenant);
    const post = () => admin.post(pathOf(tenant), { name: "k", roles: ["writer"] });
    expect(await roundTrips(tenant, post)).toBe(1);
  });

  test("is shown once, has 32 random bytes, and only its digest is stored", async () => {
    const tenant = newTenant();
    const [one, other] = [await newKey(tenant), await newKey(tenant)];
    expect(one.key).toMatch(/^al_[\w-]{43}$/);
    expect(Uint8Array.fromBase64(one.key.slice(3), { alphabet: "base64url" })).toHaveLength(32);
    expect(one.key).not.toBe(other.key);
    expect(one.answer.headers.get("Cache-Control")).toBe("no-store");
    expect(one.answer.headers.get("Location")).toBe(`${pathOf(tenant)}/${one.id}`);
    const listed = await adminOf(tenant).get(pathOf(tenant));
    expect(list.parse(listed.body).items.map((item) => item.id)).toEqual([one.id, other.id]);
    expect(listed.text).not.toContain(one.key.slice(3));
    const rows = await rowsOf(
      sql`select encode(hash, 'hex') as hash, row_to_json(api_keys)::text as row from api_keys where id = ${one.id}`,
    );
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(one.key));
    expect(rows[0]?.["hash"]).toBe(new Uint8Array(digest).toHex());
    expect(rows[0]?.["row"]).not.toContain(one.key.slice(3));
  });

  test("may do what its roles may, and no more", async () => {
    const tenant = newTenant();
    const statuses = async (roles: string[]) => {
      const caller = keyCaller((await newKey(tenant, { roles })).key);
      return [
        (await caller.post("/api/v1/logs", entry())).status,
        (await caller.get("/api/v1/logs/stats")).status,
        (await caller.get(`/api/v1/tenants/${tenant}`)).status,
        (await caller.get("/api/v1/tenants")).status,
        (await caller.get("/api/v1/operations/dead-letters")).status,
      ];
    };
    expect(await statuses(["writer"])).toEqual([201, 403, 403, 403, 403]);
    expect(await statuses(["auditor"])).toEqual([403, 200, 403, 403, 403]);
    expect(await statuses(["admin"])).toEqual([201, 200, 200, 403, 403]);
  });

  test("of an admin manages no keys: a stolen one must not outlive itself", async () => {
    const tenant = newTenant();
    const { key, id } = await newKey(tenant, { roles: ["admin"] });
    const thief = keyCaller(key);
    for (const answer of [
      await thief.post(pathOf(tenant), { name: "mine", roles: ["admin"] }),
      await thief.get(pathOf(tenant)),
      await thief.call("DELETE", `${pathOf(tenant)}/${id}`),
    ])
      expectProblem(answer, 403, "forbidden");
  });

  test("is refused in any other spelling, and answered as one that never was", async () => {
    const { key } = await newKey(newTenant());
    await keyCaller(key).create();
    const wrong = [
      `al_${"A".repeat(43)}`,
      `${key.slice(0, -1)}${key.endsWith("A") ? "B" : "A"}`,
      key.slice(0, -1),
      `${key}A`,
      `${key}=`,
      key.toLowerCase() === key ? key.toUpperCase() : key.toLowerCase(),
      "al_",
      "al_' or '1'='1",
      `al_${"x".repeat(9_000)}`,
    ];
    const answers = await Promise.all(
      wrong.map((sent) => keyCaller(sent).post("/api/v1/logs", entry())),
    );
    for (const answer of answers) {
      expectProblem(answer, 401, "unauthenticated");
      expect(answer.headers.get("WWW-Authenticate")).toBe('Bearer error="invalid_token"');
      expect(answer.body).toMatchObject({ detail: "The API key is not valid." });
    }
  });

  test("ends when it expires, though an isolate knows it", async () => {
    const expires = new Date(Date.now() + 20_000).toISOString();
    const { key, expires_at: told } = await newKey(newTenant(), { expires_at: expires });
    expect(told).toBe(expires);
    await keyCaller(key).create();
    later(20_500);
    expectProblem(await keyCaller(key).get("/api/v1/logs"), 401, "unauthenticated");
  });

  test("that expired is not found by an isolate that does not know it", async () => {
    const { key, id } = await newKey(newTenant());
    await rowsOf(
      sql`update api_keys set expires_at = now() - interval '1 second' where id = ${id}`,
    );
    expectProblem(await keyCaller(key).get("/api/v1/logs"), 401, "unauthenticated");
  });

  test("is refused within 30 seconds once it is revoked, and stays so", async () => {
    const tenant = newTenant();
    const [{ key, id }, other] = [await newKey(tenant), await newKey(tenant)];
    await keyCaller(key).create();
    const path = `${pathOf(tenant)}/${id}`;
    expectProblem(await adminOf(newTenant()).call("DELETE", path), 404, "not_found");
    const answer = await adminOf(tenant).call("DELETE", path);
    expect(revoked.parse(answer.body).data.revoked_at).not.toBeNull();
    expectProblem(await adminOf(tenant).call("DELETE", path), 404, "not_found");
    const items = list.parse((await adminOf(tenant).get(pathOf(tenant))).body).items;
    expect(items.map((item) => item.id)).toEqual([other.id]);
    later(30_000);
    expectProblem(await keyCaller(key).post("/api/v1/logs", entry()), 401, "unauthenticated");
    later(60_000);
    expectProblem(await keyCaller(key).get("/api/v1/logs"), 401, "unauthenticated");
    await keyCaller(other.key).create();
  });

  test("stops with its tenant, and not with the tenant's tokens", async () => {
    const tenant = newTenant();
    const { key } = await newKey(tenant);
    const now = new Date().toISOString();
    const settings = `/api/v1/tenants/${tenant}`;
    await adminOf(tenant).call("PATCH", settings, { tokens_not_before: now });
    await keyCaller(key).create();
    expect((await keyCaller(key).get("/api/v1/logs")).status).toBe(200);
    const platform = callerOf(workers, { role: "platform_admin", tenant_id: undefined });
    await platform.call("PATCH", settings, { status: "suspended" });
    expectProblem(await keyCaller(key).post("/api/v1/logs", entry()), 403, "tenant_suspended");
  });

  test("is in no log line", async () => {
    const written: string[] = [];
    for (const method of ["log", "warn", "error"] as const)
      vi.spyOn(console, method).mockImplementation((line) => void written.push(String(line)));
    const target = workersWith({ LOG_LEVEL: "DEBUG" });
    const tenant = newTenant();
    const { key, id } = await newKey(tenant);
    await adminOf(tenant, target).post(pathOf(tenant), { name: "second", roles: ["writer"] });
    await keyCaller(key, target).post("/api/v1/logs", entry());
    await keyCaller(`${key}x`, target).get("/api/v1/logs");
    const path = `${pathOf(tenant)}/${key}`;
    expectProblem(await adminOf(tenant, target).call("DELETE", path), 422, "validation_failed");
    const used = written.map((line) => JSON.parse(line)).filter((line) => line.sub === id);
    expect(used).toMatchObject([{ event: "request", actor: "api_key", tenant_id: tenant }]);
    expect(written.join()).not.toMatch(/al_(?!\*\*\*")|Bearer/);
    expect(written.join()).not.toContain(key.slice(3, 20));
  });
});

describe("the last use of a key", () => {
  test("is noted once a minute, and no request waits for it", async () => {
    const tenant = newTenant();
    const { key, id } = await newKey(tenant);
    const target = workersWith({});
    const lastUse = async () => {
      const { items } = list.parse((await adminOf(tenant).get(pathOf(tenant))).body);
      return items.find((item) => item.id === id)?.last_used_at;
    };
    expect(await lastUse()).toBeNull();
    const fetch = vi.spyOn(globalThis, "fetch");
    for (let n = 0; n < 5; n += 1) await keyCaller(key, target).get(`/api/v1/logs/${id}`);
    const bodies = fetch.mock.calls.map(([, init]) => String(init?.body));
    expect(bodies.filter((body) => body.includes("last_used_at"))).toHaveLength(1);
    expect(bodies.filter((body) => body.includes("find_api_key"))).toHaveLength(1);
    vi.restoreAllMocks();
    const first = await lastUse();
    expect(Date.parse(first ?? "")).toBeGreaterThan(Date.now() - 10_000);
    // Another isolate asks too, and changes nothing.
    later(61_000);
    await keyCaller(key, target).get(`/api/v1/logs/${id}`);
    vi.restoreAllMocks();
    expect(await lastUse()).toBe(first);
    await rowsOf(
      sql`update api_keys set last_used_at = now() - interval '2 minutes' where id = ${id}`,
    );
    later(122_000);
    await keyCaller(key, target).get(`/api/v1/logs/${id}`);
    vi.restoreAllMocks();
    expect(Date.parse((await lastUse()) ?? "")).toBeGreaterThanOrEqual(Date.parse(first ?? ""));
  });

  test("is lost where it cannot be written, and the request is not", async () => {
    const { key } = await newKey(newTenant());
    const original = globalThis.fetch;
    vi.spyOn(console, "warn").mockImplementation(() => {});
    vi.spyOn(globalThis, "fetch").mockImplementation((to, init) =>
      String(init?.body).includes("last_used_at")
        ? Promise.reject(new Error("refused"))
        : original(to, init),
    );
    expect((await keyCaller(key, workersWith({})).post("/api/v1/logs", entry())).status).toBe(201);
  });
});

describe("made-up keys", () => {
  test("ask the database once each, and never put out those that exist", async () => {
    const { key } = await newKey(newTenant());
    const target = workersWith({});
    await keyCaller(key, target).create();
    const fetch = vi.spyOn(globalThis, "fetch");
    const fake = `al_${crypto.randomUUID().replaceAll("-", "").padEnd(43, "0")}`;
    for (let n = 0; n < 5; n += 1)
      expectProblem(await keyCaller(fake, target).get("/api/v1/logs"), 401, "unauthenticated");
    const asked = () =>
      fetch.mock.calls.filter(([, init]) => String(init?.body).includes("find_api_key")).length;
    expect(asked()).toBe(1);
    await keyCaller(key, target).create();
    expect(asked()).toBe(1);
  });
});

describe("an API key cannot be made", () => {
  test.each([
    [{ roles: ["user"] }, ["/roles/0"]],
    [{ roles: ["platform_admin"] }, ["/roles/0"]],
    [{ roles: [] }, ["/roles"]],
    [{ roles: ["writer", "writer"] }, ["/roles"]],
    [{ name: "" }, ["/name"]],
    [{ name: undefined }, ["/name"]],
    [{ expires_at: "2020-01-01T00:00:00Z" }, ["/expires_at"]],
    [{ expires_at: "tomorrow" }, ["/expires_at"]],
    [{ key: "al_mine" }, ["/key"]],
  ])("with %j", async (change, places) => {
    const tenant = newTenant();
    const body = { name: "k", roles: ["writer"], ...change };
    const answer = await adminOf(tenant).post(pathOf(tenant), body);
    expect(expectProblem(answer, 422, "validation_failed")).toEqual(places);
  });

  test("beyond the hundredth, also by many at once", async () => {
    const tenant = newTenant();
    await newKey(tenant);
    await rowsOf(sql`
      insert into api_keys (tenant_id, hash, name, roles, created_by)
      select ${tenant}, sha256(convert_to(${tenant} || n, 'UTF8')), 'k', '{writer}', 'x'
      from generate_series(1, 97) as n`);
    // Each is slow enough for all to be under way before the first is committed.
    await rowsOf(sql`create function be_slow() returns trigger language plpgsql as
      'begin perform pg_sleep(0.5); return null; end'`);
    await rowsOf(sql`create trigger be_slow after insert on api_keys
      for each row when (new.name = 'slow') execute function be_slow()`);
    try {
      const answers = await Promise.all(
        Array.from({ length: 4 }, () =>
          adminOf(tenant).post(pathOf(tenant), { name: "slow", roles: ["writer"] }),
        ),
      );
      const statuses = answers.map(({ status }) => status).toSorted();
      expect(statuses).toEqual([201, 201, 409, 409]);
    } finally {
      await rowsOf(sql`drop trigger be_slow on api_keys`);
      await rowsOf(sql`drop function be_slow()`);
    }
  });
});

test("row-level security shows a tenant its own keys where a query forgets its WHERE", async () => {
  const [mine, theirs] = [newTenant(), newTenant()];
  await newKey(mine);
  await newKey(theirs);
  const db = ownerOf();
  const seen = async (tenantId: string) => {
    const [result] = await inTenant(db, { tenantId, userId: null }, [
      db.execute(sql`select tenant_id from api_keys`),
    ]);
    return result.rows;
  };
  expect(await seen(mine)).toEqual([{ tenant_id: mine }]);
  expect(await seen("")).toEqual([]);
  const [changed] = await inTenant(db, { tenantId: mine, userId: null }, [
    db.execute(sql`update api_keys set revoked_at = now() returning tenant_id`),
  ]);
  expect(changed.rows).toEqual([{ tenant_id: mine }]);
});
