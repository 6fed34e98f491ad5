import { beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { app } from "../../worker/app.ts";
import { type Answer, callerOf, expectProblem, newTenant } from "../journeys/api.ts";
import { contract, type Row, type World } from "./access-table.ts";
import { exportAnswer } from "./export-calls.ts";
import { token, workers, workersWith } from "./tools.ts";

const operation = z.looseObject({
  operationId: z.string(),
  security: z.array(z.record(z.string(), z.unknown())),
  "x-roles": z.array(z.string()),
});
const document = z
  .object({ paths: z.record(z.string(), z.record(z.string(), operation)) })
  .parse(await (await workersWith({}).fetch("/api/v1/openapi.json")).json());

const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, declared]) => ({
    id: declared.operationId,
    method: method.toUpperCase(),
    path,
    declared,
    row: contract[declared.operationId] ?? ({ may: [], done: [] } satisfies Row),
  })),
);
type Operation = (typeof operations)[number];

test("every operation of the document is in the contract's table, and no other", () => {
  expect(operations.map(({ id }) => id).toSorted()).toEqual(Object.keys(contract).toSorted());
});

test("every route is in the document, but the document itself, its page and the metrics", () => {
  const documented = new Set(
    operations.map(
      ({ method, path }) => `${method} /api/v1${path.replaceAll(/\{(\w+)\}/g, ":$1")}`,
    ),
  );
  const others = app.routes
    .filter(({ method }) => method !== "ALL")
    .map(({ method, path }) => `${method} ${path}`)
    .filter((name) => !documented.has(name));
  expect([...new Set(others)].toSorted()).toEqual([
    "GET /api/v1/docs",
    "GET /api/v1/docs/:file",
    "GET /api/v1/openapi.json",
    "GET /docs",
    "GET /health",
    "GET /metrics",
  ]);
});

/** Sends an operation what it needs to be done. */
async function call(
  { method, path, row }: Operation,
  authorization: string | undefined,
  world: World,
  target = workers,
): Promise<Answer> {
  const params = (await row.path?.(world)) ?? {};
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = params[name];
    if (value === undefined) throw new Error(`No value for ${name} of ${path}.`);
    return encodeURIComponent(value);
  });
  const caller = callerOf({ ...target, token: async () => "" }, {});
  // An empty header is none.
  return caller.call(method, `/api/v1${filled}`, row.body?.(), {
    Authorization: authorization ?? "",
  });
}

const bearer = async (claims: Record<string, unknown>) =>
  `Bearer ${await token({ sub: "alice", ...claims })}`;

async function newWorld(): Promise<World> {
  const tenant = newTenant();
  const admin = callerOf(workers, { tenant_id: tenant });
  const started = await admin.call("POST", "/api/v1/logs/export");
  const platform = callerOf(workers, { role: "platform_admin", tenant_id: undefined });
  // Each operation is asked for more often at once than a client should; the next request tells the isolate.
  await platform.call("PATCH", `/api/v1/tenants/${tenant}`, { rate_tier: "unlimited" });
  return {
    tenant,
    logId: await admin.create({ user_id: "alice" }),
    exportId: exportAnswer.parse(started.body).data.id,
    newKeyId: async () => (await newKey(tenant, ["writer"])).id,
  };
}

const madeKey = z.object({ data: z.object({ id: z.string(), key: z.string() }) });
async function newKey(tenant: string, roles: string[]) {
  const admin = callerOf(workers, { tenant_id: tenant });
  const made = await admin.post(`/api/v1/tenants/${tenant}/keys`, { name: "k", roles });
  return madeKey.parse(made.body).data;
}

let world: World;
/** Keys of the same tenant, by their role. */
const keys: Record<string, string> = {};
beforeAll(async () => {
  world = await newWorld();
  for (const role of keyRoles) keys[role] = `Bearer ${(await newKey(world.tenant, [role])).key}`;
});

/** What the contract says of a caller with these roles: that it is done, or the error. */
function verdict(
  { row }: Operation,
  roles: string[],
  { hasTenant = true, isKey = false } = {},
): string {
  if (row.may === "anyone") return "done";
  const isPlatform = roles.includes("platform_admin");
  if (!hasTenant && !isPlatform) return "403 tenant_missing";
  const mayIt = roles.some((role) => row.may.includes(role));
  if (!mayIt || (isKey && row.needsToken)) return "403 forbidden";
  return hasTenant || row.may.includes("platform_admin") ? "done" : "403 tenant_missing";
}

/** How the call ended, in the same words. */
function outcome({ row }: Operation, answer: Answer): string {
  if (row.done.includes(answer.status)) return "done";
  return `${answer.status} ${z.looseObject({ code: z.string() }).parse(answer.body).code}`;
}

/** Those that an API key can have. */
const keyRoles = ["admin", "auditor", "writer"];
const allRoles = ["admin", "auditor", "writer", "user", "platform_admin"];

describe.each(operations)("$id", (one) => {
  const { declared, row } = one;

  test("says in the document who may call it", () => {
    expect(declared["x-roles"].toSorted()).toEqual(row.may === "anyone" ? [] : row.may.toSorted());
    // No requirement, or an empty one, lets anyone in.
    const letsAnyone =
      declared.security.length === 0 ||
      declared.security.some((way) => Object.keys(way).length === 0);
    expect(letsAnyone).toBe(row.may === "anyone");
  });

  test.skipIf(row.may === "anyone")("says in the document whether an API key will do", () => {
    const ways = declared.security.flatMap((way) => Object.keys(way));
    const mayKey = keyRoles.some((role) => verdict(one, [role], { isKey: true }) === "done");
    expect(ways.toSorted()).toEqual(mayKey ? ["apiKey", "token"] : ["token"]);
  });

  test.each(allRoles)("by a token of the role %s", async (role) => {
    const answer = await call(one, await bearer({ tenant_id: world.tenant, role }), world);
    expect(outcome(one, answer), answer.text).toBe(verdict(one, [role]));
  });

  test.each(allRoles)("by a token of the role %s that names no tenant", async (role) => {
    const answer = await call(one, await bearer({ tenant_id: undefined, role }), world);
    expect(outcome(one, answer), answer.text).toBe(verdict(one, [role], { hasTenant: false }));
  });

  test("by a token of several roles, which may what each of them may", async () => {
    for (const roles of [
      ["writer", "auditor"],
      ["user", "writer"],
      ["platform_admin", "admin"],
    ]) {
      for (const tenant of [world.tenant, undefined]) {
        const claims = { tenant_id: tenant, role: undefined, roles };
        const answer = await call(one, await bearer(claims), world);
        expect(outcome(one, answer), answer.text).toBe(
          verdict(one, roles, { hasTenant: tenant !== undefined }),
        );
      }
    }
  });

  test("by a token without a role, which has the default roles, or none", async () => {
    const none = await bearer({ tenant_id: world.tenant, role: undefined });
    const byDefault = await call(one, none, world);
    expect(outcome(one, byDefault), byDefault.text).toBe(verdict(one, ["writer", "auditor"]));
    const noDefault = await call(one, none, world, workersWith({ DEFAULT_ROLE: undefined }));
    expect(outcome(one, noDefault)).toBe(row.may === "anyone" ? "done" : "403 role_missing");
  });

  test("by a token of a role that there is not", async () => {
    for (const role of ["root", "Admin", "", "admin,writer"]) {
      const answer = await call(one, await bearer({ tenant_id: world.tenant, role }), world);
      expect(outcome(one, answer)).toBe(row.may === "anyone" ? "done" : "403 role_missing");
    }
  });

  test.each(keyRoles)("by an API key of the role %s", async (role) => {
    const answer = await call(one, keys[role], world);
    expect(outcome(one, answer), answer.text).toBe(verdict(one, [role], { isKey: true }));
  });

  test.skipIf(row.may === "anyone")("by nobody, or with what is no valid token", async () => {
    const now = Math.floor(Date.now() / 1000);
    const own = { tenant_id: world.tenant, roles: allRoles };
    const [head, body] = (await bearer(own)).split(".");
    const none = await call(one, undefined, world);
    expectProblem(none, 401, "unauthenticated");
    expect(none.headers.get("WWW-Authenticate")).toBe("Bearer");
    for (const invalid of [
      await bearer({ ...own, exp: now - 60 }),
      await bearer({ ...own, exp: undefined }),
      await bearer({ ...own, nbf: now + 60 }),
      `Bearer ${await token(own, "a secret of someone else, as long as one must be")}`,
      `${head}.${body}.`,
      `${head}.${body}.AAAA`,
      "Bearer x",
      "Bearer a.b.c",
      `Bearer al_${"x".repeat(43)}`,
    ]) {
      const answer = await call(one, invalid, world);
      expectProblem(answer, 401, "unauthenticated");
      expect(answer.headers.get("WWW-Authenticate")).toBe('Bearer error="invalid_token"');
    }
  });
});

/** What is not by chance different in two answers. */
const shapeOf = ({ status, headers, body }: Answer) => ({
  status,
  headers: [...headers].filter(([name]) => name !== "x-request-id"),
  body: { ...Object(body), request_id: "" },
});

describe("what another tenant has", () => {
  const withIds = operations.filter(({ path }) => /\{(log|pipeline|tenant|key)_id\}/.test(path));
  /** Ids of nothing. */
  const nothing = (tenant: string): World => ({
    tenant,
    logId: crypto.randomUUID(),
    exportId: crypto.randomUUID(),
    newKeyId: async () => crypto.randomUUID(),
  });

  test.each(withIds)("is for $id as what never was", async (one) => {
    for (const roles of [...allRoles.slice(0, 4).map((role) => [role]), allRoles.slice(0, 4)]) {
      const stranger = await bearer({ tenant_id: newTenant(), role: undefined, roles });
      const theirs = await call(one, stranger, world);
      const never = await call(one, stranger, nothing(newTenant()));
      expect(theirs.status).toBe(verdict(one, roles, {}) === "done" ? 404 : 403);
      expect(shapeOf(theirs)).toEqual(shapeOf(never));
    }
  });

  test.each(withIds.filter(({ path }) => path.includes("{key_id}")))(
    "is for $id as what never was, also below one's own tenant",
    async (one) => {
      const tenant = newTenant();
      const admin = await bearer({ tenant_id: tenant });
      const theirs = await call(one, admin, { ...world, tenant });
      expectProblem(theirs, 404, "not_found");
      expect(shapeOf(theirs)).toEqual(shapeOf(await call(one, admin, nothing(tenant))));
    },
  );

  test("and what another user has, is for a user as what never was", async () => {
    const one = operations.find(({ id }) => id === "getLog");
    if (!one) throw new Error("There is no getLog.");
    const user = await bearer({ tenant_id: world.tenant, role: "user", sub: "bob" });
    const theirs = await call(one, user, world);
    expectProblem(theirs, 404, "not_found");
    expect(shapeOf(theirs)).toEqual(shapeOf(await call(one, user, nothing(world.tenant))));
  });
});

describe("a tenant's settings hold for", () => {
  const platform = callerOf(workers, { role: "platform_admin", tenant_id: undefined });
  const within = operations.filter(({ row }) => row.may !== "anyone" && row.may.includes("admin"));
  let suspended: World;
  let ended: World;
  beforeAll(async () => {
    [suspended, ended] = await Promise.all([newWorld(), newWorld()]);
    const inAMinute = new Date(Date.now() + 60_000).toISOString();
    for (const [tenant, changes] of [
      [suspended.tenant, { status: "suspended" }],
      [ended.tenant, { tokens_not_before: inAMinute }],
    ] as const) {
      const changed = await platform.call("PATCH", `/api/v1/tenants/${tenant}`, changes);
      if (changed.status !== 200) throw new Error(changed.text);
    }
    // Longer than a change may take to hold everywhere.
    await new Promise((resolve) => setTimeout(resolve, 1_100));
  });
  const withKeyOf = (of: World): World => ({ ...of, newKeyId: async () => crypto.randomUUID() });

  test.each(within)("$id: a suspended tenant is refused", async (one) => {
    const admin = await bearer({ tenant_id: suspended.tenant });
    expectProblem(await call(one, admin, withKeyOf(suspended)), 403, "tenant_suspended");
  });

  test.each(within)("$id: a token that its tenant has ended is refused", async (one) => {
    const now = Math.floor(Date.now() / 1000);
    for (const claims of [{ iat: now }, { iat: undefined }]) {
      const admin = await bearer({ tenant_id: ended.tenant, ...claims });
      const answer = await call(one, admin, withKeyOf(ended));
      expectProblem(answer, 401, "unauthenticated");
      expect(answer.headers.get("WWW-Authenticate")).toBe('Bearer error="invalid_token"');
    }
  });
});
