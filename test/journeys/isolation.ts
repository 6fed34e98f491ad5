import { describe, expect, test } from "vitest";
import { callerOf, entry, expectProblem, newTenant, type Target } from "./api.ts";

/** The walls between tenants, and between the users of one. */
export function isolationJourneys(target: Target): void {
  describe("two tenants", () => {
    test("never see each other's logs, by any route", async () => {
      const [one, other] = [newTenant(), newTenant()].map((tenant) =>
        callerOf(target, { tenant_id: tenant }),
      );
      if (!one || !other) throw new Error("unreachable");
      const secret = `secret-${crypto.randomUUID()}`;
      const ids = await one.createAll([
        { description: secret, user_id: "u" },
        { description: secret, user_id: "u" },
      ]);
      await one.settled();
      expect((await one.list({ search: secret })).total).toBe(2);

      expectProblem(await other.get(`/api/v1/logs/${ids[0]}`), 404, "not_found");
      for (const query of [
        {},
        { search: secret },
        { user_id: "u" },
        { resource_id: "doc_1" },
        { order: "asc" },
      ]) {
        const list = await other.list(query);
        expect([list.total, list.items]).toEqual([0, []]);
      }
      const stats = await other.get("/api/v1/logs/stats");
      expect(stats.body).toMatchObject({ data: { total: 0, user_counts: [] } });
    });

    test("cannot use each other's cursors", async () => {
      const one = callerOf(target, { tenant_id: newTenant() });
      const other = callerOf(target, { tenant_id: newTenant() });
      await one.createAll([{}, {}, {}]);
      await one.settled();
      const { next_cursor: cursor } = await one.list({ page_size: "1" });
      const answer = await other.get(`/api/v1/logs?cursor=${cursor}`);
      expect(expectProblem(answer, 422, "validation_failed")).toEqual(["cursor"]);
    });

    test("are told apart by any character of their names", async () => {
      const name = newTenant();
      const odd = [
        name,
        `${name} `,
        `${name}*`,
        `${name}' or '1'='1`,
        `${name}%`,
        name.toUpperCase(),
        `${name}é🔥`,
      ];
      const callers = odd.map((tenant) => callerOf(target, { tenant_id: tenant }));
      await Promise.all(callers.map((caller, n) => caller.create({ resource_id: String(n) })));
      for (const [n, caller] of callers.entries()) {
        await caller.settled();
        const { items } = await caller.list();
        expect(items.map((item) => item["resource_id"])).toEqual([String(n)]);
      }
    });

    test("may have a number for a name, which is its digits", async () => {
      const number = Math.floor(Math.random() * 1e12);
      await callerOf(target, { tenant_id: number }).create();
      const named = callerOf(target, { tenant_id: String(number) });
      await named.settled();
      expect((await named.list()).total).toBe(1);
    });
  });

  describe("the user role", () => {
    test("creates in its own name only, and the answer says which entry is not", async () => {
      const user = callerOf(target, { tenant_id: newTenant(), role: "user", sub: "u_1" });
      await user.create({ user_id: "u_1" });
      const answer = await user.post("/api/v1/logs/bulk", {
        logs: [entry({ user_id: "u_1" }), entry({ user_id: "u_2" }), entry()],
      });
      expect(expectProblem(answer, 403, "forbidden")).toEqual([
        "/logs/1/user_id",
        "/logs/2/user_id",
      ]);
    });

    test("reads only logs of its own user_id", async () => {
      const tenant = newTenant();
      const admin = callerOf(target, { tenant_id: tenant });
      const user = callerOf(target, { tenant_id: tenant, role: "user", sub: "u_1" });
      const [mine, others] = await admin.createAll([{ user_id: "u_1" }, { user_id: "u_2" }, {}]);
      await admin.settled();
      expect((await user.get(`/api/v1/logs/${mine}`)).status).toBe(200);
      expectProblem(await user.get(`/api/v1/logs/${others}`), 404, "not_found");
      const list = await user.list();
      expect([list.total, list.items.map((item) => item.id)]).toEqual([1, [mine]]);
      expect((await user.list({ user_id: "u_2" })).total).toBe(0);
      const { next_cursor: cursor } = await admin.list({ page_size: "1" });
      expectProblem(await user.get(`/api/v1/logs?cursor=${cursor}`), 422, "validation_failed");
    });

    test("goes on only by cursors of its own", async () => {
      const tenant = newTenant();
      const as = (sub: string) => callerOf(target, { tenant_id: tenant, role: "user", sub });
      const admin = callerOf(target, { tenant_id: tenant });
      await admin.createAll(["u_1", "u_1", "u_2", "u_2"].map((id) => ({ user_id: id })));
      await admin.settled();
      const { next_cursor: cursor } = await as("u_1").list({ page_size: "1" });
      expect((await as("u_1").list({ cursor: cursor ?? "" })).items).toHaveLength(1);
      for (const other of [as("u_2"), admin]) {
        const answer = await other.get(`/api/v1/logs?cursor=${cursor}`);
        expect(expectProblem(answer, 422, "validation_failed")).toEqual(["cursor"]);
      }
    });

    test("beside a reading role reads everything", async () => {
      const tenant = newTenant();
      await callerOf(target, { tenant_id: tenant }).create({ user_id: "u_2" });
      const both = callerOf(target, {
        tenant_id: tenant,
        roles: ["user", "auditor"],
        role: undefined,
        sub: "u_1",
      });
      await both.settled();
      expect((await both.list()).total).toBe(1);
    });
  });
}
