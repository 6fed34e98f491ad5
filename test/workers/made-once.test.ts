import { sql } from "drizzle-orm";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { asRole, inTenant, sqlState } from "../../db/client.ts";
import { type Answer, callerOf, expectProblem, newTenant, problem } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { loseAnswers } from "./lost-answers.ts";
import { ownLogs } from "./own-logs.ts";
import { workers, workersWith } from "./tools.ts";

beforeEach(() => {
  for (const level of ["warn", "error"] as const)
    vi.spyOn(console, level).mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

const isReplay = (answer: Answer) => answer.headers.get("Idempotency-Replayed") === "true";
const madeKey = z.object({ data: z.object({ id: z.string(), key: z.string() }) });
const keyList = z.object({ items: z.array(z.object({ id: z.string() })) });

/** An admin of a tenant of its own, who makes API keys. */
function keyMaker(claims: object = {}, tenant = newTenant()) {
  const admin = callerOf(workersWith({}), { tenant_id: tenant, ...claims });
  const path = `/api/v1/tenants/${tenant}/keys`;
  return {
    tenant,
    admin,
    path,
    make: (key: string, name = "billing") =>
      admin.call("POST", path, { name, roles: ["writer"] }, { "Idempotency-Key": key }),
    ids: async () => keyList.parse((await admin.get(path)).body).items.map(({ id }) => id),
  };
}

/** Asserts that the answer names a key that was made before, and returns its path. */
function madeBefore(answer: Answer, id: string, path: string): string {
  expectProblem(answer, 409, "api_key_already_made");
  expect(problem.parse(answer.body).detail).toContain(id);
  expect(answer.headers.get("Location")).toBe(`${path}/${id}`);
  expect(answer.text).not.toContain("al_");
  return `${path}/${id}`;
}

describe("an API key under an Idempotency-Key", () => {
  test("is made once, and a repeat names it without what it is used with", async () => {
    const { tenant, path, make, ids } = keyMaker();
    const first = await make("k");
    expect(first.status, first.text).toBe(201);
    const { id } = madeKey.parse(first.body).data;
    madeBefore(await make("k"), id, path);
    expect(await ids()).toEqual([id]);
    expect((await ownLogs(tenant)).map((log) => log.action)).toEqual(["audit_log.key_created"]);
  });

  test("is refused with another body, and made under another key or by another caller", async () => {
    const { tenant, make, ids } = keyMaker();
    expect((await make("k")).status).toBe(201);
    expectProblem(await make("k", "other"), 422, "idempotency_key_reused");
    expect((await make("l")).status).toBe(201);
    expect((await keyMaker({ sub: "nora" }, tenant).make("k")).status).toBe(201);
    expect((await keyMaker().make("k")).status).toBe(201);
    expect(await ids()).toHaveLength(3);
  });

  test("is made once where two requests come at once", async () => {
    const { make, ids } = keyMaker();
    const answers = await Promise.all([make("k"), make("k"), make("k")]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 409, 409]);
    expect(await ids()).toHaveLength(1);
  });

  test("whose making the database did not answer is shown by the second try of the same request", async () => {
    const { tenant, make, ids } = keyMaker();
    const seen = loseAnswers(tenant, "first");
    const answer = await make("k");
    expect(answer.status, answer.text).toBe(201);
    expect(seen.count).toBe(2);
    vi.restoreAllMocks();
    const { id, key } = madeKey.parse(answer.body).data;
    expect(await ids()).toEqual([id]);
    const user = callerOf({ ...workers, token: async () => key }, {});
    expect((await user.post("/api/v1/logs", {})).status).toBe(422);
  });

  test("that nobody was shown is named to who repeats, and can be revoked and made again", async () => {
    const { tenant, admin, path, make, ids } = keyMaker();
    loseAnswers(tenant, "all");
    expectProblem(await make("k"), 503, "database_unavailable");
    vi.restoreAllMocks();
    const [id = ""] = await ids();
    const unseen = madeBefore(await make("k"), id, path);
    expect((await admin.call("DELETE", unseen)).status).toBe(200);
    expect(await ids()).toEqual([]);
    madeBefore(await make("k"), id, path);
    expect((await make("l")).status).toBe(201);
  });

  test("that was not made, since there are too many, leaves the Idempotency-Key free", async () => {
    const { tenant, admin, path, make, ids } = keyMaker();
    await rowsOf(sql`
      insert into api_keys (tenant_id, hash, name, roles, created_by)
      select ${tenant}, sha256(convert_to(${tenant} || n, 'UTF8')), 'k', '{writer}', 'alice'
      from generate_series(1, 100) as n`);
    expectProblem(await make("k"), 409, "conflict");
    await admin.call("DELETE", `${path}/${(await ids())[0]}`);
    expect((await make("k")).status).toBe(201);
  });
});

/** A platform admin, who makes tenants. */
function tenantMaker(claims: object = {}) {
  const platform = callerOf(workersWith({}), {
    role: "platform_admin",
    tenant_id: undefined,
    sub: `root-${crypto.randomUUID()}`,
    ...claims,
  });
  return (key: string, body: object) =>
    platform.call("POST", "/api/v1/tenants", body, { "Idempotency-Key": key });
}

describe("a tenant under an Idempotency-Key", () => {
  test("is made once, and a repeat is answered as the first request", async () => {
    const make = tenantMaker();
    const id = newTenant();
    const body = { id, name: "Acme", retention_days: 400 };
    const first = await make("k", body);
    expect([first.status, isReplay(first)]).toEqual([201, false]);
    const again = await make("k", body);
    expect([again.status, isReplay(again)]).toEqual([201, true]);
    expect(again.text).toBe(first.text);
    expect(again.headers.get("Location")).toBe(first.headers.get("Location"));
    expect((await ownLogs(id)).map((log) => log.action)).toEqual(["audit_log.tenant_created"]);
  });

  test("is refused with another body, also of another tenant, and that one is not made", async () => {
    const make = tenantMaker();
    const [id, other] = [newTenant(), newTenant()];
    expect((await make("k", { id })).status).toBe(201);
    expectProblem(await make("k", { id, name: "Acme" }), 422, "idempotency_key_reused");
    expectProblem(await make("k", { id: other }), 422, "idempotency_key_reused");
    expect(await rowsOf(sql`select id from tenants where id = ${other}`)).toEqual([]);
    expect((await make("l", { id: other })).status).toBe(201);
  });

  test("that is there already is a conflict, as without one, and for another caller too", async () => {
    const id = newTenant();
    expect((await tenantMaker()("k", { id })).status).toBe(201);
    const make = tenantMaker();
    expectProblem(await make("k", { id }), 409, "conflict");
    expectProblem(await make("k", { id }), 409, "conflict");
    expect((await make("k", { id: newTenant() })).status).toBe(201);
  });

  test("is made once where two requests come at once", async () => {
    const make = tenantMaker();
    const body = { id: newTenant() };
    const answers = await Promise.all([make("k", body), make("k", body), make("k", body)]);
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
    expect(answers.filter(isReplay)).toHaveLength(2);
  });

  test("is made once where the database's answer was lost", async () => {
    const make = tenantMaker();
    const [id, other] = [newTenant(), newTenant()];
    expect(loseAnswers(id, "first").count).toBe(0);
    const answer = await make("k", { id });
    expect([answer.status, isReplay(answer)]).toEqual([201, false]);
    vi.restoreAllMocks();
    loseAnswers(other, "all");
    expectProblem(await make("l", { id: other }), 503, "database_unavailable");
    vi.restoreAllMocks();
    const again = await make("l", { id: other });
    expect([again.status, isReplay(again)]).toEqual([201, true]);
    for (const tenant of [id, other]) expect(await ownLogs(tenant)).toHaveLength(1);
  });
});

describe("the Idempotency-Keys of platform admins", () => {
  const db = ownerOf();
  const insert = (tenant: string) => sql`
    insert into idempotency_keys (tenant_id, sub, scope, key, body_mac, nonce, created_at)
    values (${tenant}, 's', 's', gen_random_uuid()::text, 'm', gen_random_uuid(), clock_timestamp())`;

  test("are all that their role sees and takes of the table", async () => {
    const { tenant, make } = keyMaker();
    await make("k");
    await tenantMaker()("k", { id: newTenant() });
    const owners = sql`select distinct tenant_id from idempotency_keys`;
    const [seen] = await asRole(db, "audit_operator", [db.execute(owners)]);
    expect(seen.rows).toEqual([{ tenant_id: "" }]);
    const taken = asRole(db, "audit_operator", [db.execute(insert(tenant))]);
    expect(await taken.catch((error: unknown) => sqlState(error))).toBe("42501");
  });

  test.each(["", "acme"])("are no tenant's: %j", async (tenantId) => {
    await tenantMaker()("k", { id: newTenant() });
    const scope = { tenantId, userId: null };
    const [seen] = await inTenant(db, scope, [
      db.execute(sql`select from idempotency_keys where tenant_id = ''`),
    ]);
    expect(seen.rows).toEqual([]);
    const taken = inTenant(db, scope, [db.execute(insert(""))]);
    expect(await taken.catch((error: unknown) => sqlState(error))).toBe("42501");
  });
});
