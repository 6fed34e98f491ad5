import { createExecutionContext, env, waitOnExecutionContext } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { afterEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { recordRead } from "../../db/read-audits.ts";
import { removeOldKeys } from "../../db/old-keys.ts";
import { asRole, inTenant, sqlState } from "../../db/client.ts";
import { type OwnEvent, ownLog } from "../../events/own-log.ts";
import { ownRecorder } from "../../events/own-actions.ts";
import { tenantMask } from "../../events/tenant-mask.ts";
import app from "./all-workers.ts";
import { callerOf, type Client, entry, expectProblem, newTenant } from "../journeys/api.ts";
import { exportAnswer, exported, finished, start } from "./export-calls.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { storeOld } from "./old-logs.ts";
import { ownLogs } from "./own-logs.ts";
import { token, workerEnv, workers, workersWith } from "./tools.ts";

const ip = "203.0.113.9";
const browser = { "CF-Connecting-IP": ip, "User-Agent": "a browser" };

/** A Worker whose tenants have their searches recorded, as it is by default. */
const recording = workersWith({ DEFAULT_READ_AUDIT: undefined });
const platform = callerOf(workers, { role: "platform_admin", tenant_id: undefined, sub: "root" });

const actionsOf = async (tenant: string) => (await ownLogs(tenant)).map(({ action }) => action);

afterEach(() => {
  vi.restoreAllMocks();
});

describe("a read", () => {
  test("is recorded with who asked for what, and how much was found", async () => {
    const tenant = newTenant();
    const caller = callerOf(recording, { tenant_id: tenant, sub: "nora" });
    await caller.createAll([{ user_id: "u_1" }, { user_id: "u_1" }, { user_id: "u_2" }]);
    await caller.settled();
    const query = "user_id=u_1&user_id=u_9&severity=info&metadata.plan=pro&page_size=1&order=asc";
    const headers = { ...browser, "X-Request-Id": "req-1" };
    await caller.call("GET", `/api/v1/logs?${query}`, undefined, headers);
    await caller.call("GET", "/api/v1/logs/stats?user_id=u_1", undefined, headers);
    const about = {
      user_id: "nora",
      actor_type: "user",
      ip_address: ip,
      user_agent: "a browser",
      request_id: "req-1",
      resource_type: "audit_log",
      resource_id: "*",
      recorded_by: ownRecorder,
      outcome: "success",
    };
    const filters = { user_id: ["u_1", "u_9"], severity: "info", "metadata.plan": "pro" };
    const source = expect.stringMatching(/^(opensearch|postgres)$/);
    const logs = (await ownLogs(tenant)).filter((log) => log["request_id"] === "req-1");
    expect(logs).toMatchObject([
      { ...about, action: "audit_log.searched", metadata: { filters, results: 0, source } },
      {
        ...about,
        action: "audit_log.counted",
        metadata: { filters: { user_id: "u_1" }, results: 2, source },
      },
    ]);
  });

  test("can be found and exported as any other log", async () => {
    const tenant = newTenant();
    const caller = callerOf(recording, { tenant_id: tenant });
    await caller.list({ user_id: "u_7" });
    await caller.settled();
    const { items } = await caller.list({
      action: "audit_log.*",
      "metadata.filters.user_id": "u_7",
    });
    expect(items.map(({ action }) => action)).toEqual(["audit_log.searched"]);
    const { text } = await exported(caller, {
      columns: ["id"],
      filters: { "metadata.filters.user_id": "u_7" },
    });
    expect(text).toBe(`id\r\n${items[0]?.id}\r\n`);
  });

  test("is the API key's that asked", async () => {
    const tenant = newTenant();
    const admin = callerOf(workers, { tenant_id: tenant });
    const made = await admin.post(`/api/v1/tenants/${tenant}/keys`, {
      name: "k",
      roles: ["auditor"],
    });
    const { id, key } = z
      .object({ data: z.object({ id: z.string(), key: z.string() }) })
      .parse(made.body).data;
    await callerOf({ ...recording, token: async () => key }, {}).list();
    const log = (await ownLogs(tenant)).find(({ action }) => action === "audit_log.searched");
    expect(log).toMatchObject({ user_id: id, actor_type: "api_key" });
  });

  test("of the user role is recorded, and seen by that user only", async () => {
    const tenant = newTenant();
    const as = (sub: string) => callerOf(recording, { tenant_id: tenant, role: "user", sub });
    await as("u_1").list();
    await as("u_2").list({ action: "x" });
    await callerOf(workers, { tenant_id: tenant }).settled();
    const { items } = await callerOf(workers, {
      tenant_id: tenant,
      role: "user",
      sub: "u_2",
    }).list();
    expect(items).toMatchObject([{ action: "audit_log.searched", user_id: "u_2" }]);
  });

  test("tells nothing in clear of what would be masked in a log", async () => {
    const tenant = newTenant();
    const caller = callerOf(recording, { tenant_id: tenant });
    const secrets = [
      "nora@example.com",
      "hunter2",
      "0123456789abcdef",
      "4111 1111 1111 1111",
      "ulf@example.org",
      "inside-a-token",
    ];
    const filters = {
      email: secrets[0] ?? "",
      "metadata.password": secrets[1] ?? "",
      "metadata.note": `Bearer ${secrets[2]}`,
      "metadata.token.id": secrets[5] ?? "",
      search: `"${secrets[3]}" ${secrets[4]}`,
    };
    await caller.list(filters);
    await caller.get(`/api/v1/logs/stats?${new URLSearchParams(filters)}`);
    await start(caller, { filters });
    const logs = await ownLogs(tenant);
    expect(logs).toHaveLength(3);
    for (const log of logs)
      expect(log.metadata).toMatchObject({
        filters: {
          email: ["n***@example.com"],
          "metadata.password": "***",
          "metadata.note": "Bearer ***",
          "metadata.token.id": ["***"],
          search: '"***" u***@example.org',
        },
      });
    const stored = JSON.stringify([
      await rowsOf(
        sql`select audit_logs::text as text from audit_logs where tenant_id = ${tenant}`,
      ),
      await rowsOf(
        sql`select read_audits::text as text from read_audits where tenant_id = ${tenant}`,
      ),
      await rowsOf(
        sql`select shown_filters::text as text from export_pipelines where tenant_id = ${tenant}`,
      ),
    ]);
    for (const secret of secrets) expect(stored).not.toContain(secret);
  });

  test("that is refused is not recorded", async () => {
    const tenant = newTenant();
    const caller = callerOf(recording, { tenant_id: tenant });
    expectProblem(await caller.get("/api/v1/logs?severity=loud"), 422, "validation_failed");
    expectProblem(await caller.get("/api/v1/logs?cursor=x"), 422, "validation_failed");
    expectProblem(await caller.get(`/api/v1/logs/${crypto.randomUUID()}`), 404, "not_found");
    const writer = callerOf(recording, { tenant_id: tenant, role: "writer" });
    expectProblem(await writer.get("/api/v1/logs"), 403, "forbidden");
    expectProblem(await writer.post("/api/v1/logs/export", {}), 403, "forbidden");
    expect(await ownLogs(tenant)).toEqual([]);
  });
});

describe("the level of a tenant", () => {
  /** What is recorded of a list, a count and a get of this. */
  async function recorded(caller: Client, tenant: string, id: string): Promise<string[]> {
    const before = (await ownLogs(tenant)).length;
    const from = `from=${new Date(Math.random() * 1e12).toISOString()}`;
    for (const path of [`?${from}`, `/stats?${from}`, `/${id}`])
      expect((await caller.get(`/api/v1/logs${path}`)).status).toBe(200);
    return (await actionsOf(tenant))
      .slice(before)
      .map((action) => action.replace("audit_log.", ""));
  }
  const level = (by: Client, tenant: string, read_audit: unknown) =>
    by.call("PATCH", `/api/v1/tenants/${tenant}`, { read_audit });
  const untilItHolds = () => new Promise((resolve) => setTimeout(resolve, 1_100));

  test("says what is recorded, from the moment that it is set", async () => {
    const tenant = newTenant();
    const admin = callerOf(recording, { tenant_id: tenant });
    const ids = await admin.createAll([entry(), entry()]);
    const get = (n: number) => recorded(admin, tenant, ids[n] ?? "");
    expect(await get(0)).toEqual(["searched", "counted"]);
    const changed = await level(admin, tenant, "all");
    expect(changed.body).toMatchObject({ data: { read_audit: "all" } });
    await untilItHolds();
    expect(await get(0)).toEqual(["searched", "counted", "read"]);
    await level(platform, tenant, "changes");
    await untilItHolds();
    expect(await get(1)).toEqual([]);
    const back = await level(admin, tenant, null);
    expect(back.body).toMatchObject({ data: { read_audit: null } });
    await untilItHolds();
    expect(await get(1)).toEqual(["searched", "counted"]);
    expectProblem(await level(admin, tenant, "none"), 422, "validation_failed");
  });

  test("is judged where the log is stored, whatever an isolate knew", async () => {
    const tenant = newTenant();
    await platform.post("/api/v1/tenants", { id: tenant, read_audit: "changes" });
    const toRecord = readToRecord(tenant);
    expect(await recordRead(ownerOf(), scopeOf(tenant), toRecord)).toEqual({
      id: undefined,
      leftMs: undefined,
    });
    await level(platform, tenant, "searches");
    expect((await recordRead(ownerOf(), scopeOf(tenant), toRecord)).id).toBeDefined();
  });

  test("of the deployment is for tenants that have chosen none", async () => {
    const tenant = newTenant();
    const all = callerOf(workersWith({ DEFAULT_READ_AUDIT: "all" }), { tenant_id: tenant });
    const id = await all.create();
    expect(await recorded(all, tenant, id)).toEqual(["searched", "counted", "read"]);
    const wrong = callerOf(workersWith({ DEFAULT_READ_AUDIT: "none" }), { tenant_id: tenant });
    vi.spyOn(console, "error").mockImplementation(() => {});
    expect(await recorded(wrong, tenant, id)).toEqual(["searched", "counted"]);
  });

  test("is not one that leaves out exports, keys and settings", async () => {
    const tenant = newTenant();
    await platform.post("/api/v1/tenants", { id: tenant, read_audit: "changes" });
    await start(callerOf(recording, { tenant_id: tenant }));
    expect(await actionsOf(tenant)).toEqual([
      "audit_log.tenant_created",
      "audit_log.export_started",
    ]);
  });
});

const scopeOf = (tenantId: string) => ({ tenantId, userId: null });

function readToRecord(tenant: string, mac: string = crypto.randomUUID()) {
  const requester = {
    user_id: "nora",
    actor_type: "user",
    ip_address: null,
    user_agent: null,
    request_id: null,
  } as const;
  const event: OwnEvent = { action: "audit_log.searched", resource_type: "audit_log" };
  const secrets = { hashSecret: "0".repeat(32), extraKeys: [] };
  const masking = { mask: tenantMask(null, tenant, secrets), hashSecret: secrets.hashSecret };
  const log = ownLog(event, requester, {
    tenantId: tenant,
    recordedBy: ownRecorder,
    ...masking,
  });
  return { log, mac, from: "searches", defaultLevel: "searches" } as const;
}

describe("equal reads", () => {
  /** Lets time pass for the notes of what was recorded. */
  const age = (tenant: string, seconds: number) =>
    rowsOf(sql`
      update read_audits set created_at = created_at - make_interval(secs => ${seconds})
      where tenant_id = ${tenant}`);

  test("that ask at once, wherever they are, are recorded once", async () => {
    const tenant = newTenant();
    const toRecord = readToRecord(tenant);
    const results = await Promise.all(
      Array.from({ length: 20 }, () => recordRead(ownerOf(), scopeOf(tenant), toRecord)),
    );
    expect(results.filter(({ id }) => id !== undefined)).toHaveLength(1);
    expect(await actionsOf(tenant)).toEqual(["audit_log.searched"]);
    for (const { leftMs } of results) {
      expect(leftMs).toBeGreaterThan(50_000);
      expect(leftMs).toBeLessThanOrEqual(60_000);
    }
  });

  test("are recorded again a minute after the last, and not before", async () => {
    const tenant = newTenant();
    const toRecord = readToRecord(tenant);
    await recordRead(ownerOf(), scopeOf(tenant), toRecord);
    await age(tenant, 55);
    const early = await recordRead(ownerOf(), scopeOf(tenant), toRecord);
    expect(early.id).toBeUndefined();
    expect(early.leftMs).toBeLessThan(5_000);
    await age(tenant, 5);
    expect((await recordRead(ownerOf(), scopeOf(tenant), toRecord)).id).toBeDefined();
  });

  test("of one caller merge whatever the page, the cursor and the order; others do not", async () => {
    const tenant = newTenant();
    const caller = callerOf(recording, { tenant_id: tenant, sub: "nora" });
    await caller.createAll([{}, {}, {}].map(() => ({ user_id: "u_1" })));
    await caller.settled();
    const count = async () => (await ownLogs(tenant)).length;
    const before = await count();
    const { next_cursor: cursor } = await caller.list({ user_id: "u_1", page_size: "1" });
    await caller.list({ user_id: "u_1", page_size: "1", cursor: cursor ?? "" });
    await caller.list({ user_id: "u_1", page: "2" });
    await caller.list({ order: "asc", user_id: "u_1" });
    expect(await count()).toBe(before + 1);
    await caller.list({ user_id: "u_2" });
    await callerOf(recording, { tenant_id: tenant, sub: "ulf" }).list({ user_id: "u_1" });
    await callerOf(recording, { tenant_id: tenant, sub: "nora", role: "user" }).list({
      user_id: "u_1",
    });
    expect(await count()).toBe(before + 4);
  });

  test("behind a cursor tell what was found there, and no total that the caller has put into the cursor", async () => {
    const tenant = newTenant();
    const sender = callerOf(workers, { tenant_id: tenant });
    await sender.createAll([{}, {}, {}].map(() => ({ user_id: "u_1" })));
    await sender.settled();
    const query = { user_id: "u_1", page_size: "1" };
    const { next_cursor: given } = await sender.list(query);
    const text = atob((given ?? "").replaceAll("-", "+").replaceAll("_", "/"));
    const parts = z.array(z.unknown()).parse(JSON.parse(text));
    const cursor = btoa(JSON.stringify(parts.with(2, 0))).replaceAll("=", "");
    const reader = callerOf(recording, { tenant_id: tenant });
    expect((await reader.list({ ...query, page_size: "2", cursor })).items).toHaveLength(2);
    expect((await ownLogs(tenant))[0]?.metadata).toMatchObject({
      results: 2,
      results_are_lower_bound: true,
    });
  });

  test("of an address merge in any spelling of it", async () => {
    const tenant = newTenant();
    const caller = callerOf(recording, { tenant_id: tenant });
    await caller.list({ email: "nora@example.com" });
    await caller.list({ email: "Nora@Example.com " });
    expect(await ownLogs(tenant)).toHaveLength(1);
  });

  test("cost the database one call a minute for each isolate", async () => {
    const tenant = newTenant();
    const caller = callerOf(recording, { tenant_id: tenant });
    const fetch = vi.spyOn(globalThis, "fetch");
    await Promise.all(Array.from({ length: 20 }, () => caller.list({ user_id: "u_1" })));
    await caller.list({ user_id: "u_1" });
    const calls = fetch.mock.calls.filter(
      ([, init]) =>
        String(init?.body).includes("into read_audits") && String(init?.body).includes(tenant),
    );
    expect(calls).toHaveLength(1);
    const now = Date.now();
    vi.spyOn(Date, "now").mockImplementation(() => now + 61_000);
    await age(tenant, 61);
    await caller.list({ user_id: "u_1" });
    expect(await ownLogs(tenant)).toHaveLength(2);
  });

  test("do not feed a tail: what it reads of its own is one log a minute", async () => {
    const tenant = newTenant();
    const tail = callerOf(recording, { tenant_id: tenant });
    let cursor: string | null = null;
    const seen: string[] = [];
    for (let polls = 0; polls < 25; polls++) {
      const page = await tail.list({ order: "asc", ...(cursor === null ? {} : { cursor }) });
      seen.push(...page.items.map(({ action }) => action));
      cursor = page.next_cursor;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(seen.filter((action) => action === "audit_log.searched").length).toBeLessThanOrEqual(1);
    expect(await actionsOf(tenant)).toEqual(["audit_log.searched"]);
  });

  test("leave a note for an hour, and no longer", async () => {
    const tenant = newTenant();
    await recordRead(ownerOf(), scopeOf(tenant), readToRecord(tenant));
    const notes = () => rowsOf(sql`select 1 as n from read_audits where tenant_id = ${tenant}`);
    await removeOldKeys(ownerOf(), Date.now() + 5_000);
    expect(await notes()).toHaveLength(1);
    await age(tenant, 3_601);
    await removeOldKeys(ownerOf(), Date.now() + 5_000);
    expect(await notes()).toEqual([]);
  });
});

describe("recording a read", () => {
  /** The Worker, without waiting for what it does after the answer. */
  async function asked(path: string, tenant: string) {
    const context = createExecutionContext();
    const request = new Request(`http://audit${path}`, {
      headers: { Authorization: `Bearer ${await token({ tenant_id: tenant })}` },
    });
    const changed = { ...env, DEFAULT_READ_AUDIT: "searches", LOG_LEVEL: "WARNING" };
    return { answer: await app.fetch(request, changed, context), context };
  }
  const isRecording = (init: RequestInit | undefined) =>
    String(init?.body).includes("into read_audits");

  test("does not hold up the answer", async () => {
    const tenant = newTenant();
    const { fetch } = globalThis;
    const held = Promise.withResolvers<void>();
    let isHeld = false;
    vi.spyOn(globalThis, "fetch").mockImplementation(async (to, init) => {
      if (isRecording(init)) {
        isHeld = true;
        await held.promise;
      }
      return fetch(to, init);
    });
    const { answer, context } = await asked("/api/v1/logs", tenant);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ items: [] });
    expect(await ownLogs(tenant)).toEqual([]);
    held.resolve();
    await waitOnExecutionContext(context);
    expect(isHeld).toBe(true);
    expect(await actionsOf(tenant)).toEqual(["audit_log.searched"]);
  });

  test("does not fail the answer, says so where it fails, and is tried again by the next", async () => {
    const tenant = newTenant();
    const { fetch } = globalThis;
    let isDown = true;
    vi.spyOn(globalThis, "fetch").mockImplementation((to, init) =>
      isDown && isRecording(init) ? Promise.reject(new Error("no database")) : fetch(to, init),
    );
    const warned = vi.spyOn(console, "warn").mockImplementation(() => {});
    const { answer, context } = await asked("/api/v1/logs?user_id=u_1", tenant);
    expect(answer.status).toBe(200);
    await waitOnExecutionContext(context);
    const [line] = warned.mock.calls.map(([text]) => JSON.parse(String(text)));
    expect(line).toMatchObject({
      event: "read_not_audited",
      action: "audit_log.searched",
      tenant_id: tenant,
    });
    expect(JSON.stringify(line)).not.toContain("u_1");
    isDown = false;
    const again = await asked("/api/v1/logs?user_id=u_1", tenant);
    await waitOnExecutionContext(again.context);
    expect(await actionsOf(tenant)).toEqual(["audit_log.searched"]);
  });
});

describe("an export", () => {
  test("is recorded when it starts, and not in its own file", async () => {
    const tenant = newTenant();
    const caller = callerOf(workers, { tenant_id: tenant, sub: "nora" });
    const id = await caller.create({ user_id: "u_1" });
    const headers = { ...browser, "X-Request-Id": "req-2" };
    const body = { format: "jsonl", columns: ["id"], filters: { from: "2020-01-01T00:00:00Z" } };
    const started = await caller.call("POST", "/api/v1/logs/export", body, headers);
    const { data } = z.object({ data: z.object({ id: z.string() }) }).parse(started.body);
    const [log] = await ownLogs(tenant);
    expect(log).toMatchObject({
      action: "audit_log.export_started",
      user_id: "nora",
      ip_address: ip,
      request_id: "req-2",
      resource_type: "export",
      resource_id: data.id,
      metadata: { filters: body.filters, format: "jsonl", compression: "none", columns: ["id"] },
    });
    const done = await finished(caller, data.id);
    expect(await (await fetch(done.file_url ?? "")).text()).toBe(`{"id":"${id}"}\n`);
    const second = await exported(caller, { columns: ["id"] });
    expect(second.text).toContain(log?.id);
  });

  test("has its log in the millisecond that bounds it", async () => {
    const tenant = newTenant();
    await start(callerOf(workers, { tenant_id: tenant }));
    const [row] = await rowsOf(sql`
      select l.id >= e.upper_id as is_outside, l.created_at = e.created_at + interval '1 millisecond' as is_next,
        l.id >= first_id_at(l.created_at) as is_own
      from audit_logs l join export_pipelines e using (tenant_id) where tenant_id = ${tenant}`);
    expect(row).toEqual({ is_outside: true, is_next: true, is_own: true });
  });

  test("that is repeated under its key is recorded once", async () => {
    const tenant = newTenant();
    const caller = callerOf(workers, { tenant_id: tenant });
    const key = { "Idempotency-Key": "k" };
    const post = () => caller.call("POST", "/api/v1/logs/export", {}, key);
    const answers = [...(await Promise.all([post(), post(), post()])), await post()];
    for (const { status } of answers) expect(status).toBe(202);
    expect(await actionsOf(tenant)).toEqual(["audit_log.export_started"]);
  });

  test("is recorded as given where the answer to a repeat of its start, or of a retry, has links", async () => {
    const tenant = newTenant();
    const caller = callerOf(workers, { tenant_id: tenant });
    const key = { "Idempotency-Key": "k" };
    const again = async (path: string) => {
      const { status, body } = await caller.call("POST", path, {}, key);
      expect(status).toBe(202);
      return exportAnswer.parse(body).data;
    };
    const isDone = (id: string) =>
      vi.waitFor(
        async () =>
          expect(await rowsOf(sql`select status from export_pipelines where id = ${id}`)).toEqual([
            { status: "DONE" },
          ]),
        { timeout: 20_000, interval: 100 },
      );
    const { id } = await again("/api/v1/logs/export");
    await isDone(id);
    const given = async () =>
      (await ownLogs(tenant)).filter(({ action }) => action === "audit_log.export_link_given");
    expect((await again("/api/v1/logs/export")).file_url).not.toBeNull();
    await vi.waitFor(async () => expect(await given()).toMatchObject([{ resource_id: id }]));
    const other = await start(caller);
    await isDone(other.id);
    await rowsOf(sql`update export_pipelines set status = 'FAILED' where id = ${other.id}`);
    await again(`/api/v1/logs/export/${other.id}/retry`);
    await rowsOf(sql`update export_pipelines set status = 'DONE' where id = ${other.id}`);
    expect((await again(`/api/v1/logs/export/${other.id}/retry`)).file_url).not.toBeNull();
    await vi.waitFor(async () =>
      expect(await given()).toMatchObject([{ resource_id: id }, { resource_id: other.id }]),
    );
  });

  test("is recorded when it is cancelled and retried, once, and when a link to it is given", async () => {
    const tenant = newTenant();
    const caller = callerOf(workers, { tenant_id: tenant });
    const { done } = await exported(caller);
    await finished(caller, done.id);
    await caller.get("/api/v1/logs/export");
    const path = `/api/v1/logs/export/${done.id}`;
    expectProblem(await caller.call("DELETE", path), 409, "conflict");
    expectProblem(await caller.post(`${path}/retry`, undefined), 409, "conflict");
    const expected = ["audit_log.export_started", "audit_log.export_link_given"];
    await vi.waitFor(async () => expect(await actionsOf(tenant)).toEqual(expected));
    expect((await ownLogs(tenant))[1]).toMatchObject({ resource_id: done.id });
    await rowsOf(sql`update export_pipelines set status = 'FAILED' where id = ${done.id}`);
    const headers = { "Idempotency-Key": "k" };
    for (const _ of [1, 2])
      expect((await caller.call("POST", `${path}/retry`, undefined, headers)).status).toBe(202);
    await rowsOf(sql`update export_pipelines set status = 'FAILED' where id = ${done.id}`);
    expect((await caller.call("DELETE", path)).status).toBe(200);
    expect((await caller.call("DELETE", path)).status).toBe(200);
    const logs = (await ownLogs(tenant)).slice(2);
    expect(logs).toMatchObject([
      { action: "audit_log.export_retried", resource_type: "export", resource_id: done.id },
      { action: "audit_log.export_cancelled", resource_type: "export", resource_id: done.id },
    ]);
  });
});

describe("a change", () => {
  test("of settings is recorded with what was and what is, by whoever made it", async () => {
    const tenant = newTenant();
    const path = `/api/v1/tenants/${tenant}`;
    await platform.post("/api/v1/tenants", { id: tenant, name: "Acme" });
    await platform.call("PATCH", path, { name: "Acme Ltd", status: "suspended" });
    await platform.call("PATCH", path, { status: "active", name: "Acme Ltd" });
    await platform.call("PATCH", path, { status: "active" });
    const admin = callerOf(workers, { tenant_id: tenant, sub: "nora" });
    await admin.call("PATCH", path, {
      read_audit: "all",
      tokens_not_before: "2026-01-01T00:00:00Z",
    });
    expectProblem(
      await admin.call("PATCH", path, { tokens_not_before: "2025-01-01T00:00:00Z" }),
      409,
      "conflict",
    );
    expectProblem(await admin.call("PATCH", path, { name: "x" }), 403, "forbidden");
    const about = { resource_type: "tenant", resource_id: tenant, recorded_by: ownRecorder };
    const change = { ...about, action: "audit_log.settings_changed" };
    expect(await ownLogs(tenant)).toMatchObject([
      {
        ...about,
        action: "audit_log.tenant_created",
        user_id: "root",
        metadata: { settings: { name: "Acme" } },
      },
      {
        ...change,
        user_id: "root",
        metadata: { settings: ["name", "status"] },
        before_state: { name: "Acme", status: "active" },
        after_state: { name: "Acme Ltd", status: "suspended" },
      },
      {
        ...change,
        user_id: "root",
        metadata: { settings: ["status"] },
        before_state: { status: "suspended" },
        after_state: { status: "active" },
      },
      {
        ...change,
        user_id: "nora",
        metadata: { settings: ["read_audit", "tokens_not_before"] },
        before_state: { read_audit: null, tokens_not_before: null },
        after_state: { read_audit: "all", tokens_not_before: "2026-01-01T00:00:00.000Z" },
      },
    ]);
  });

  test("of what is kept is recorded too: a cleanup, a retention and a hold", async () => {
    const tenant = newTenant();
    const admin = callerOf(workers, { tenant_id: tenant });
    const cleanUp = (query = "") => admin.call("DELETE", `/api/v1/logs/cleanup${query}`);
    expect((await cleanUp("?dry_run=true")).status).toBe(200);
    const { body } = await cleanUp();
    const { data } = z.object({ data: z.object({ cutoff: z.string() }) }).parse(body);
    const path = `/api/v1/tenants/${tenant}`;
    await platform.call("PATCH", path, { retention_days: 30, legal_hold: true });
    expectProblem(await cleanUp(), 409, "legal_hold");
    const [cleaned, changed, ...more] = await ownLogs(tenant);
    expect(more).toEqual([]);
    expect(cleaned).toMatchObject({ action: "audit_log.cleanup_started", resource_id: "*" });
    expect(cleaned?.metadata["cutoff"]).toBe(data.cutoff);
    expect(changed).toMatchObject({
      metadata: { settings: ["legal_hold", "retention_days", "retention_takes_effect_at"] },
      before_state: { legal_hold: false, retention_days: null },
      after_state: { legal_hold: true, retention_days: 30 },
    });
  });

  test("has its times in one form, in UTC with milliseconds, as everywhere", async () => {
    const tenant = newTenant();
    const path = `/api/v1/tenants/${tenant}`;
    const admin = callerOf(workers, { tenant_id: tenant });
    const inAnHour = new Date(Date.now() + 3_600_000).toISOString().replace(/\.\d+Z$/, "+00:00");
    await storeOld(tenant, 400, 1);
    const changes: [Client, string, string, unknown][] = [
      [admin, "PATCH", path, { tokens_not_before: "2026-01-01T00:00:00Z" }],
      [admin, "PATCH", path, { tokens_not_before: "2026-01-01T03:00:00.5+01:00" }],
      [platform, "PATCH", path, { retention_days: 30 }],
      [platform, "PATCH", path, { retention_days: 20 }],
      [platform, "PATCH", path, { retention_days: 365 }],
      [admin, "POST", `${path}/keys`, { name: "k", roles: ["writer"], expires_at: inAnHour }],
      [admin, "POST", "/api/v1/logs/export", {}],
    ];
    for (const [by, method, to, body] of changes)
      expect((await by.call(method, to, body)).status, to).toBeLessThan(300);
    await rowsOf(sql`update export_pipelines set status = 'DONE' where tenant_id = ${tenant}`);
    expect((await admin.call("DELETE", "/api/v1/logs/cleanup")).status).toBe(200);
    await vi.waitFor(async () =>
      expect(await actionsOf(tenant)).toContain("audit_log.logs_removed"),
    );
    const told = (await ownLogs(tenant)).map(({ action, metadata, before_state, after_state }) => ({
      action,
      times:
        JSON.stringify([metadata, before_state, after_state]).match(/"\d{4}-\d\d[^"]*"/g) ?? [],
    }));
    const withTimes = new Set(
      told.filter(({ times }) => times.length > 0).map((log) => log.action),
    );
    expect([...withTimes]).toEqual([
      "audit_log.settings_changed",
      "audit_log.key_created",
      "audit_log.cleanup_started",
      "audit_log.logs_removed",
    ]);
    const times = told.flatMap((log) => log.times);
    for (const time of times) expect(time).toMatch(/^"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"$/);
    expect(times).toContain('"2026-01-01T02:00:00.500Z"');
  });

  test("of keys is recorded, without the key", async () => {
    const tenant = newTenant();
    const path = `/api/v1/tenants/${tenant}/keys`;
    const admin = callerOf(workers, { tenant_id: tenant });
    const made = await admin.post(path, { name: "billing", roles: ["writer"] });
    const { id, key } = z
      .object({ data: z.object({ id: z.string(), key: z.string() }) })
      .parse(made.body).data;
    expect((await admin.call("DELETE", `${path}/${id}`)).status).toBe(200);
    expectProblem(await admin.call("DELETE", `${path}/${id}`), 404, "not_found");
    const about = { resource_type: "api_key", resource_id: id, resource_name: "billing" };
    const logs = await ownLogs(tenant);
    expect(logs).toMatchObject([
      {
        ...about,
        action: "audit_log.key_created",
        metadata: { roles: ["writer"], expires_at: null },
      },
      { ...about, action: "audit_log.key_revoked" },
    ]);
    expect(JSON.stringify(logs)).not.toContain(key.slice(3));
  });

  test("is searchable as soon as another log", async () => {
    const tenant = newTenant();
    await platform.post("/api/v1/tenants", { id: tenant });
    const caller = callerOf(workers, { tenant_id: tenant });
    await caller.settled();
    const { items } = await caller.list({ action: "audit_log.tenant_created" });
    expect(items).toMatchObject([{ user_id: "root", tenant_id: tenant }]);
  });

  /** Makes the log of what happens next in a tenant impossible to store. */
  async function withoutLogs(tenant: string, run: () => Promise<void>): Promise<void> {
    const name = `no_log_${crypto.randomUUID().replaceAll("-", "")}`;
    const literal = sql.raw(`'${tenant}'`);
    await rowsOf(sql`
      alter table pending_index add constraint ${sql.identifier(name)}
      check (tenant_id <> ${literal}) not valid`);
    vi.spyOn(console, "error").mockImplementation(() => {});
    try {
      await run();
    } finally {
      await rowsOf(sql`alter table pending_index drop constraint ${sql.identifier(name)}`);
    }
  }

  test("is not made where its log cannot be stored", async () => {
    const tenant = newTenant();
    const admin = callerOf(workers, { tenant_id: tenant });
    const path = `/api/v1/tenants/${tenant}`;
    const { id } = await start(admin);
    const made = await admin.post(`${path}/keys`, { name: "k", roles: ["writer"] });
    const { data: key } = z.object({ data: z.object({ id: z.string() }) }).parse(made.body);
    await finished(admin, id);
    await rowsOf(sql`update export_pipelines set status = 'FAILED' where id = ${id}`);
    const unmade = newTenant();
    const state = async () => [
      await rowsOf(
        sql`select id, status, due_at from export_pipelines where tenant_id = ${tenant}`,
      ),
      await rowsOf(sql`select id, revoked_at from api_keys where tenant_id = ${tenant}`),
      await rowsOf(sql`select * from tenants where id in (${tenant}, ${unmade})`),
    ];
    const before = await state();
    const changes: [Client, string, string, unknown][] = [
      [admin, "POST", "/api/v1/logs/export", {}],
      [admin, "DELETE", `/api/v1/logs/export/${id}`, undefined],
      [admin, "POST", `/api/v1/logs/export/${id}/retry`, undefined],
      [admin, "POST", `${path}/keys`, { name: "l", roles: ["writer"] }],
      [admin, "DELETE", `${path}/keys/${key.id}`, undefined],
      [admin, "PATCH", path, { read_audit: "all" }],
      [platform, "PATCH", path, { name: "x" }],
    ];
    await withoutLogs(tenant, async () => {
      for (const [by, method, to, body] of changes)
        expect((await by.call(method, to, body)).status, `${method} ${to}`).toBe(500);
    });
    await withoutLogs(unmade, async () => {
      expect((await platform.post("/api/v1/tenants", { id: unmade })).status).toBe(500);
    });
    expect(await state()).toEqual(before);
  });
});

describe("the role of platform admins", () => {
  const insert = (tenant: string, action: string) => sql`
    insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, resource_type, resource_id)
    select audit_log_id(now(), 0), ${tenant}, now(), now(), 'test', ${action}, 'INFO', 'user', 'r', '1'`;
  const refusal = async (statement: ReturnType<typeof sql>) => {
    try {
      await asRole(ownerOf(), "audit_operator", [ownerOf().execute(statement)]);
      return undefined;
    } catch (error) {
      return sqlState(error);
    }
  };

  test("stores the service's own logs only, and reads none", async () => {
    const tenant = newTenant();
    const insufficient = "42501";
    expect(await refusal(insert(tenant, "audit_log.settings_changed"))).toBeUndefined();
    expect(await refusal(insert(tenant, "document.opened"))).toBe(insufficient);
    expect(await refusal(sql`select id from audit_logs`)).toBe(insufficient);
    expect(await refusal(sql`${insert(tenant, "audit_log.x")} returning id`)).toBe(insufficient);
    expect(await refusal(sql`update audit_logs set action = 'x'`)).toBe(insufficient);
    expect(await refusal(sql`delete from audit_logs`)).toBe(insufficient);
  });

  test("sees no tenant's notes of reads, and the API only its own tenant's", async () => {
    const [mine, theirs] = [newTenant(), newTenant()];
    for (const tenant of [mine, theirs])
      await recordRead(ownerOf(), scopeOf(tenant), readToRecord(tenant));
    expect(await refusal(sql`select 1 from read_audits`)).toBe("42501");
    const db = ownerOf();
    const [found] = await inTenant(db, { tenantId: mine, userId: null }, [
      db.execute(sql`select distinct tenant_id from read_audits`),
    ]);
    expect(found.rows).toEqual([{ tenant_id: mine }]);
    expect(workerEnv["DEFAULT_READ_AUDIT"]).toBe("changes");
  });
});
