import { describe, expect, test } from "vitest";
import { type Answer, callerOf, entry, expectProblem, newTenant, type Target } from "./api.ts";

/** Routes within a tenant. */
export const routes: [string, string, unknown?][] = [
  ["POST", "/api/v1/logs", entry()],
  ["POST", "/api/v1/logs/bulk", { logs: [entry()] }],
  ["GET", "/api/v1/logs"],
  ["GET", "/api/v1/logs/stats"],
  ["GET", `/api/v1/logs/${crypto.randomUUID()}`],
  ["POST", "/api/v1/logs/export"],
  ["GET", "/api/v1/logs/export"],
  ["GET", `/api/v1/logs/export/${crypto.randomUUID()}`],
  ["DELETE", `/api/v1/logs/export/${crypto.randomUUID()}`],
  ["POST", `/api/v1/logs/export/${crypto.randomUUID()}/retry`],
];

/** Routes of the service itself: a platform admin's, who needs no tenant. */
const platformRoutes: typeof routes = [
  ["GET", "/api/v1/operations/dead-letters"],
  ["POST", "/api/v1/operations/dead-letters/redrive", { ids: [crypto.randomUUID()] }],
  ["GET", "/api/v1/operations/reindex"],
  // Of a month that has not come, which no one can reindex.
  ["POST", "/api/v1/operations/reindex", { month: "2199.01" }],
  ["DELETE", "/api/v1/operations/reindex/2199.01"],
  ["GET", "/api/v1/tenants"],
  // Without an id, so that none is made.
  ["POST", "/api/v1/tenants", {}],
];

/** Routes of one tenant: its own admin's and a platform admin's. */
const settingsRoutes: typeof routes = [
  ["GET", `/api/v1/tenants/${crypto.randomUUID()}`],
  [
    "PATCH",
    `/api/v1/tenants/${crypto.randomUUID()}`,
    { tokens_not_before: "2020-01-01T00:00:00Z" },
  ],
];
/** Routes of a tenant's own admin alone. */
const keyRoutes: typeof routes = [
  ["GET", `/api/v1/tenants/${crypto.randomUUID()}/keys`],
  ["POST", `/api/v1/tenants/${crypto.randomUUID()}/keys`, { name: "k", roles: ["writer"] }],
  ["DELETE", `/api/v1/tenants/${crypto.randomUUID()}/keys/${crypto.randomUUID()}`],
];
const tenantRoles = ["admin", "auditor", "writer", "user"];

/** Who may do what, and the walls between tenants. */
export function isolationJourneys(target: Target): void {
  const call = (
    [method, path, body]: (typeof routes)[number],
    claims: Record<string, unknown>,
  ): Promise<Answer> =>
    callerOf(target, { tenant_id: newTenant(), ...claims }).call(method, path, body);

  describe.each([...routes, ...platformRoutes, ...settingsRoutes, ...keyRoutes])(
    "%s %s",
    (method, path, body) => {
      const as = (claims: Record<string, unknown>) => call([method, path, body], claims);

      test("needs a token", async () => {
        const init = {
          method,
          ...(body
            ? { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }
            : {}),
        };
        const response = await target.fetch(path, init);
        expect(response.status).toBe(401);
        expect(response.headers.get("WWW-Authenticate")).toBe("Bearer");
        expect(await response.json()).toMatchObject({ code: "unauthenticated" });
      });

      test("refuses an expired token", async () => {
        const answer = await as({ exp: Math.floor(Date.now() / 1000) - 60 });
        expectProblem(answer, 401, "unauthenticated");
        expect(answer.headers.get("WWW-Authenticate")).toBe('Bearer error="invalid_token"');
      });

      test("refuses a token that never expires", async () => {
        expectProblem(await as({ exp: undefined }), 401, "unauthenticated");
      });

      test("refuses a token without a tenant, and a role that does not exist", async () => {
        expectProblem(await as({ tenant_id: undefined }), 403, "tenant_missing");
        expectProblem(await as({ role: "root" }), 403, "role_missing");
      });
    },
  );

  describe.each(routes)("%s %s", (...route) => {
    test("refuses platform admins, with a tenant and without", async () => {
      for (const tenant of [newTenant(), undefined]) {
        const answer = await call(route, { role: "platform_admin", tenant_id: tenant });
        expectProblem(answer, 403, "forbidden");
      }
    });

    test("takes a platform admin's other role only with a tenant", async () => {
      const both = { roles: ["platform_admin", "admin"], role: undefined };
      expectProblem(await call(route, { ...both, tenant_id: undefined }), 403, "tenant_missing");
      expect((await call(route, both)).status).not.toBe(403);
    });
  });

  describe.each(platformRoutes)("%s %s", (...route) => {
    test.each(tenantRoles)("refuses the role %s", async (role) => {
      expectProblem(await call(route, { role }), 403, "forbidden");
    });

    test("takes a platform admin, with a tenant and without", async () => {
      for (const tenant of [newTenant(), undefined]) {
        const answer = await call(route, { role: "platform_admin", tenant_id: tenant });
        const isUnknown = JSON.stringify(route).includes("2199.01");
        const isInvalid = route[0] === "POST" && route[1] === "/api/v1/tenants";
        expect(answer.status, answer.text).toBe(isUnknown ? 404 : isInvalid ? 422 : 200);
      }
    });
  });

  describe.each(settingsRoutes)("%s %s", (...route) => {
    test.each(["auditor", "writer", "user"])("refuses the role %s", async (role) => {
      expectProblem(await call(route, { role }), 403, "forbidden");
    });

    test("answers another tenant's admin as a platform admin who asks for a tenant that is not", async () => {
      const answers = [
        await call(route, { role: "admin" }),
        await call(route, { role: "platform_admin" }),
      ];
      for (const answer of answers) expectProblem(answer, 404, "not_found");
      const [one, other] = answers.map(({ body }) => ({ ...Object(body), request_id: "" }));
      expect(one).toEqual(other);
    });
  });

  describe.each(keyRoutes)("%s %s", (...route) => {
    test.each(["auditor", "writer", "user", "platform_admin"])("refuses %s", async (role) => {
      expectProblem(await call(route, { role }), 403, "forbidden");
    });

    test("is not there for another tenant's admin", async () => {
      expectProblem(await call(route, { role: "admin" }), 404, "not_found");
    });
  });

  test.each([
    ["admin", 201, 201, 200, 200, 404, 202, 200, 404, 404, 404],
    ["writer", 201, 201, 403, 403, 403, 403, 403, 403, 403, 403],
    ["auditor", 403, 403, 200, 200, 404, 202, 200, 404, 404, 404],
    // Not in its own name: refused.
    ["user", 403, 403, 200, 403, 404, 403, 403, 403, 403, 403],
  ])(
    "the role %s is answered with %j, %j, %j, %j, %j, %j, %j, %j, %j, %j",
    async (role, ...statuses) => {
      const caller = callerOf(target, { tenant_id: newTenant(), role, sub: "alice" });
      const answers = await Promise.all(
        routes.map(([method, path, body]) => caller.call(method, path, body)),
      );
      expect(answers.map((answer) => answer.status)).toEqual(statuses);
    },
  );

  test("a token without a role gets the default role, and one with several has all of them", async () => {
    const none = callerOf(target, { tenant_id: newTenant(), role: undefined });
    await none.create();
    expect((await none.get("/api/v1/logs")).status).toBe(200);
    const both = callerOf(target, {
      tenant_id: newTenant(),
      role: undefined,
      roles: ["writer", "auditor"],
    });
    await both.create();
    expect((await both.get("/api/v1/logs/stats")).status).toBe(200);
  });

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
