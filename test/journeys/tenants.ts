import { describe, expect, test } from "vitest";
import { z } from "zod";
import { callerOf, entry, expectProblem, newTenant, type Target } from "./api.ts";

const tenant = z.strictObject({
  id: z.string(),
  name: z.string().nullable(),
  status: z.enum(["active", "suspended"]),
  tokens_not_before: z.string().nullable(),
  read_audit: z.enum(["changes", "searches", "all"]).nullable(),
  masking: z.looseObject({}).nullable(),
  rate_tier: z.string(),
  retention_days: z.int(),
  retention_is_default: z.boolean(),
  retention_takes_effect_at: z.iso.datetime().nullable(),
  retention_days_until_then: z.int().nullable(),
  legal_hold: z.boolean(),
  created_at: z.iso.datetime(),
});
const one = z.strictObject({ data: tenant });
const page = z.strictObject({ items: z.array(tenant), next_cursor: z.string().nullable() });

const pathOf = (id: string) => `/api/v1/tenants/${encodeURIComponent(id)}`;
const iso = (seconds: number) => new Date(seconds * 1000).toISOString();
/** Longer than a change may take to hold everywhere. */
const untilItHolds = () => new Promise((resolve) => setTimeout(resolve, 1_100));

/** What platform admins and a tenant's own admin do with a tenant's settings. */
export function tenantJourneys(target: Target): void {
  const platform = callerOf(target, { role: "platform_admin", tenant_id: undefined, sub: "root" });
  const patch = (id: string, changes: object, by = platform) =>
    by.call("PATCH", pathOf(id), changes);

  describe("a platform admin", () => {
    test("makes a tenant, reads it and changes it", async () => {
      const id = newTenant();
      const made = await platform.post("/api/v1/tenants", { id, name: "Acme Ltd" });
      expect(made.status, made.text).toBe(201);
      expect(made.headers.get("Location")).toBe(pathOf(id));
      const expected = {
        id,
        name: "Acme Ltd",
        status: "active",
        tokens_not_before: null,
        rate_tier: "standard",
      };
      expect(one.parse(made.body).data).toMatchObject(expected);
      expect((await platform.get(pathOf(id))).body).toEqual(made.body);
      const renamed = await patch(id, { name: null });
      expect(one.parse(renamed.body).data).toMatchObject({ ...expected, name: null });
    });

    test("makes no tenant twice, and learns that it is there", async () => {
      const id = newTenant();
      await callerOf(target, { tenant_id: id }).create();
      expectProblem(await platform.post("/api/v1/tenants", { id }), 409, "conflict");
    });

    test("finds a tenant that a token has made, by any name", async () => {
      const base = newTenant();
      for (const id of [`${base}/a b`, `${base}?x=#1%2F`, `${base} é🔥`, `${base}..`]) {
        await callerOf(target, { tenant_id: id }).create();
        const { body } = await platform.get(pathOf(id));
        expect(one.parse(body).data).toMatchObject({ id, name: null, status: "active" });
        const own = callerOf(target, { tenant_id: id });
        expect((await own.get(pathOf(id))).body).toEqual(body);
      }
    });

    test("lists every tenant once, page by page", async () => {
      const base = newTenant();
      const ids = ["é", "a", "B", "/", "🔥"].map((end) => `${base}${end}`);
      for (const id of ids) await platform.post("/api/v1/tenants", { id });
      const found: string[] = [];
      let cursor: string | null = "";
      while (cursor !== null) {
        const query: string = cursor === "" ? "" : `&cursor=${cursor}`;
        const { body } = await platform.get(`/api/v1/tenants?page_size=100${query}`);
        const { items, next_cursor } = page.parse(body);
        found.push(...items.map((item) => item.id));
        cursor = next_cursor;
      }
      expect(found).toEqual([...new Set(found)]);
      expect(found.filter((id) => id.startsWith(base)).toSorted()).toEqual(ids.toSorted());
      const { body } = await platform.get("/api/v1/tenants?page_size=2");
      expect(page.parse(body).items.map((item) => item.id)).toEqual(found.slice(0, 2));
    });

    test.each([
      [{}, [""]],
      [{ status: "gone" }, ["/status"]],
      [{ name: "" }, ["/name"]],
      [{ name: "a\0b" }, ["/name"]],
      [{ rate_tier: "platinum" }, ["/rate_tier"]],
      [{ retention_days: 0 }, ["/retention_days"]],
      [{ retention_days: 36_501 }, ["/retention_days"]],
      [{ retention_days: 1.5 }, ["/retention_days"]],
      [{ legal_hold: null }, ["/legal_hold"]],
      [{ tokens_not_before: "yesterday" }, ["/tokens_not_before"]],
      [{ tokens_not_before: null }, ["/tokens_not_before"]],
      [{ tokens_not_before: "0001-01-01T00:00:00Z" }, ["/tokens_not_before"]],
      [{ tokens_not_before: iso(Date.now() / 1000 + 400) }, ["/tokens_not_before"]],
    ])("cannot change %j", async (changes, places) => {
      const id = newTenant();
      await platform.post("/api/v1/tenants", { id });
      expect(expectProblem(await patch(id, changes), 422, "validation_failed")).toEqual(places);
    });

    test.each(["!", "_w", "", "AA"])("cannot list on from the cursor %j", async (cursor) => {
      const answer = await platform.get(`/api/v1/tenants?cursor=${cursor}`);
      expect(expectProblem(answer, 422, "validation_failed")).toEqual(["cursor"]);
    });
  });

  describe("a suspended tenant", () => {
    test("reads and writes nothing, and goes on where it was once it is active again", async () => {
      const id = newTenant();
      const caller = callerOf(target, { tenant_id: id });
      const log = await caller.create();
      await caller.settled();
      await patch(id, { status: "suspended" });
      const refused = [
        await caller.post("/api/v1/logs", entry()),
        await caller.post("/api/v1/logs/bulk", { logs: [entry()] }),
        await caller.post("/api/v1/logs/export", {}),
        await caller.get(`/api/v1/logs/${log}`),
        await caller.get(pathOf(id)),
        await patch(id, { tokens_not_before: iso(1) }, caller),
      ];
      await untilItHolds();
      refused.push(await caller.get("/api/v1/logs"), await caller.get("/api/v1/logs/stats"));
      for (const answer of refused) expectProblem(answer, 403, "tenant_suspended");
      await callerOf(target, { tenant_id: newTenant() }).create();

      await patch(id, { status: "active" });
      await caller.settled();
      const { items } = await caller.list({ action: entry().action });
      expect(items.map((item) => item.id)).toEqual([log]);
      expect((await caller.get("/api/v1/logs/export")).body).toMatchObject({ items: [] });
    });
  });

  describe("the admin of a tenant", () => {
    test("ends all tokens that were issued before, its own too", async () => {
      const id = newTenant();
      const now = Math.floor(Date.now() / 1000);
      const [old, young] = [now - 100, now].map((iat) => callerOf(target, { tenant_id: id, iat }));
      if (!old || !young) throw new Error("unreachable");
      await old.create();
      await old.list();
      const answer = await patch(id, { tokens_not_before: iso(now - 50) }, old);
      expect(one.parse(answer.body).data.tokens_not_before).toBe(iso(now - 50));
      await untilItHolds();
      for (let n = 0; n < 3; n += 1) {
        // A list that another token of the tenant has just read does not let an ended one in.
        await young.list();
        expectProblem(await old.get("/api/v1/logs"), 401, "unauthenticated");
      }
      expectProblem(await old.post("/api/v1/logs", entry()), 401, "unauthenticated");
      await young.create();
    });

    test("cannot bring ended tokens back, nor can a platform admin", async () => {
      const id = newTenant();
      const now = Math.floor(Date.now() / 1000);
      const admin = callerOf(target, { tenant_id: id });
      await patch(id, { tokens_not_before: iso(now - 50) }, admin);
      for (const by of [admin, platform])
        expectProblem(await patch(id, { tokens_not_before: iso(now - 60) }, by), 409, "conflict");
      const again = await patch(id, { tokens_not_before: iso(now - 50) }, admin);
      expect(one.parse(again.body).data.tokens_not_before).toBe(iso(now - 50));
    });

    test("changes nothing else of it", async () => {
      const id = newTenant();
      const admin = callerOf(target, { tenant_id: id });
      for (const changes of [
        { name: "x" },
        { status: "active" },
        { rate_tier: "high" },
        { retention_days: 30 },
        { legal_hold: true },
        { name: "x", tokens_not_before: iso(1) },
      ]) {
        const places = expectProblem(await patch(id, changes, admin), 403, "forbidden");
        expect(places).toEqual([`/${Object.keys(changes)[0]}`]);
      }
      const { data } = one.parse((await admin.get(pathOf(id))).body);
      expect(data).toMatchObject({ id, name: null, tokens_not_before: null });
    });
  });
}
