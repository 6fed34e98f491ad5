import { sql } from "drizzle-orm";
import { inject, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { firstIdAt } from "../../events/ids.ts";
import packageInfo from "../../package.json";
import { type Answer, callerOf, entry, expectProblem, newTenant } from "../journeys/api.ts";
import { rowsOf } from "./database.ts";
import { nowhere, token, workers, workersWith } from "./tools.ts";

const caller = (changes: Record<string, string | undefined>, claims = {}) =>
  callerOf(workersWith(changes), { tenant_id: newTenant(), ...claims });
const routes: [string, string, unknown?][] = [
  ["POST", "/api/v1/logs", entry()],
  ["POST", "/api/v1/logs/bulk", { logs: [entry()] }],
  ["GET", "/api/v1/logs"],
  ["GET", "/api/v1/logs/stats"],
  ["GET", `/api/v1/logs/${crypto.randomUUID()}`],
  ["POST", "/api/v1/logs/export"],
  ["GET", "/api/v1/logs/export"],
  ["DELETE", "/api/v1/logs/cleanup"],
  ["DELETE", "/api/v1/logs/cleanup?dry_run=true"],
];

let lines: string[] = [];
beforeEach(() => {
  lines = [];
  for (const level of ["warn", "error"] as const) {
    vi.spyOn(console, level).mockImplementation((line) => void lines.push(String(line)));
  }
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe("while the database does not answer", () => {
  test.each(routes)("%s %s is 503 and says when to try again", async (method, path, body) => {
    const answer = await caller({ NEON_FETCH_ENDPOINT: nowhere }).call(method, path, body);
    expectProblem(answer, 503, "database_unavailable");
    expect(answer.headers.get("Retry-After")).toBe("5");
    expect(answer.text).not.toContain("127.0.0.1");
  });

  test.each([
    ["GET", "/api/v1/operations/dead-letters"],
    ["POST", "/api/v1/operations/dead-letters/redrive"],
    ["POST", "/api/v1/operations/reindex"],
    ["GET", "/api/v1/operations/reindex"],
    ["DELETE", "/api/v1/operations/reindex/2026.11"],
    ["GET", "/api/v1/tenants"],
    ["POST", "/api/v1/tenants", { id: "acme" }],
    ["GET", "/api/v1/tenants/acme"],
    ["PATCH", "/api/v1/tenants/acme", { name: "Acme" }],
  ])("a platform admin's %s %s is 503 too", async (method, path, body?: object) => {
    const admin = caller({ NEON_FETCH_ENDPOINT: nowhere }, { role: "platform_admin" });
    expectProblem(await admin.call(method, path, body), 503, "database_unavailable");
  });

  test.each([
    ["POST", "", { name: "k", roles: ["writer"] }],
    ["GET", ""],
    ["DELETE", `/${crypto.randomUUID()}`],
  ])("the %s of a tenant's keys%s is 503 too", async (method, path, body?: object) => {
    const tenant = newTenant();
    const admin = caller({ NEON_FETCH_ENDPOINT: nowhere }, { tenant_id: tenant });
    const answer = await admin.call(method, `/api/v1/tenants/${tenant}/keys${path}`, body);
    expectProblem(answer, 503, "database_unavailable");
  });

  test("an API key that is not known yet is neither taken nor refused", async () => {
    const headers = { Authorization: `Bearer al_${"x".repeat(43)}` };
    const answer = await caller({ NEON_FETCH_ENDPOINT: nowhere }).call(
      "GET",
      "/api/v1/logs",
      undefined,
      headers,
    );
    expectProblem(answer, 503, "database_unavailable");
  });

  test("health is down", async () => {
    const answer = await caller({ NEON_FETCH_ENDPOINT: nowhere }).get("/health");
    expect(answer.status).toBe(503);
    expect(answer.body).toMatchObject({
      status: "down",
      checks: { database: { status: "down" }, opensearch: { status: "ok" } },
    });
  });
});

describe("while a part takes the connection and never answers", () => {
  const url = inject("hangingUrl");
  // The longest wait begins before the others. By its own name of the database nothing else asks that endpoint.
  const hanging = { DATABASE_URL: "postgres://a:b@hanging.test/c", NEON_FETCH_ENDPOINT: url };
  let write: Promise<Answer> | undefined;
  beforeAll(() => {
    write = caller(hanging).post("/api/v1/logs", entry());
  });

  test("OpenSearch is given up after its timeout, and the list comes from Postgres", async () => {
    const began = Date.now();
    expect((await caller({ OPENSEARCH_HOST: url, LOG_LEVEL: "INFO" }).list()).source).toBe(
      "postgres",
    );
    expect(Date.now() - began).toBeLessThan(6_000);
    expect(lines.join()).toContain("search_degraded");
  });

  test("health gives every check up after its timeout", async () => {
    const began = Date.now();
    const changes = {
      OPENSEARCH_HOST: url,
      SQS_ENDPOINT: url,
      AWS_ENDPOINT_URL: url,
      NEON_FETCH_ENDPOINT: url,
    };
    const { body } = await caller(changes).get("/health");
    expect(Date.now() - began).toBeLessThan(4_000);
    const down = { status: "down" };
    const checks = {
      database: down,
      opensearch: down,
      sqs_log_queue: down,
      sqs_export_queue: down,
      s3: down,
    };
    expect(body).toMatchObject({ status: "down", checks });
  });

  test("a write is 503 after the database's timeout", async () => {
    if (!write) throw new Error("Nothing was written.");
    expectProblem(await write, 503, "database_unavailable");
  });
});

describe("a database that loses its months", () => {
  const url = inject("spareDatabaseUrl");

  test("gets them back by the first writes, of which none fails", async () => {
    const months = await rowsOf(
      sql`select inhrelid::regclass::text as name from pg_inherits where inhparent = 'audit_logs'::regclass`,
      url,
    );
    for (const { name } of months)
      await rowsOf(sql`drop table ${sql.identifier(String(name))}`, url);
    const writer = caller({ DATABASE_URL: url });
    await Promise.all(Array.from({ length: 10 }, () => writer.create()));
    const [count] = await rowsOf(sql`select count(*)::int as n from audit_logs`, url);
    expect(count?.["n"]).toBe(10);
    const [made] = await rowsOf(sql`select ensure_partition() as made`, url);
    expect(made?.["made"]).toBe(0);
  });

  test("answers lists of a time without a month with nothing", async () => {
    const { total } = await caller({ DATABASE_URL: url, OPENSEARCH_HOST: nowhere }).list({
      to: "2020-01-01T00:00:00Z",
    });
    expect(total).toBe(0);
  });

  test("gives a search up that takes too long without its index, and says what to do", async () => {
    await rowsOf(
      sql`create or replace function try_inet(address text) returns inet language plpgsql as
        'begin perform pg_sleep(20); return null; end'`,
      url,
    );
    const slow = caller({ DATABASE_URL: url, OPENSEARCH_HOST: nowhere });
    await slow.create({ ip_address: "203.0.113.7" });
    const answer = await slow.get("/api/v1/logs?ip_address=203.0.113.7");
    expectProblem(answer, 503, "search_unavailable");
    expect(answer.text).toContain("Narrow it by from and to");
  });

  test("answers an unforeseen error with no more than its request id", async () => {
    await rowsOf(sql`alter table audit_logs rename column session_id to gone`, url);
    const answer = await caller({ DATABASE_URL: url }).post(
      "/api/v1/logs",
      entry({ description: "private" }),
    );
    expectProblem(answer, 500, "internal");
    expect(answer.text).not.toMatch(/session_id|column|insert/);
    expect(lines.join()).toContain("session_id");
    expect(lines.join()).not.toContain("private");
  });
});

describe("configuration", () => {
  test.each([
    [{ JWT_SECRET: undefined }, 503],
    [{ JWT_SECRET: "short" }, 503],
    [{ DATABASE_URL: "mysql://x" }, 503],
    [{ HASH_SECRET: undefined }, 503],
    [{ SQS_LOG_QUEUE_URL: undefined }, 201],
    [{ OPENSEARCH_HOST: undefined }, 201],
    [{ EXPORT_S3_BUCKET: "x" }, 201],
    [{ LOG_LEVEL: "LOUD" }, 201],
  ])("%j stops a write only where a write needs it", async (changes, status) => {
    const answer = await caller(changes).post("/api/v1/logs", entry());
    expect(answer.status, answer.text).toBe(status);
    if (status === 503) expectProblem(answer, 503, "misconfigured");
    expect(lines.filter((line) => line.includes('"misconfigured"'))).toHaveLength(
      status === 503 ? lines.length : 1,
    );
  });

  test("names the tenant of a token that names none", async () => {
    const answer = await caller({ TENANT_ID: "house" }, { tenant_id: undefined }).post(
      "/api/v1/logs",
      entry(),
    );
    expect(answer.body).toMatchObject({ data: { tenant_id: "house" } });
  });

  test("may keep tokens from making tenants", async () => {
    const claims = { tenant_id: newTenant() };
    const closed = { TENANT_AUTO_CREATE: "false" };
    expectProblem(
      await caller(closed, claims).post("/api/v1/logs", entry()),
      403,
      "tenant_unknown",
    );
    expectProblem(
      await caller(closed, claims).post("/api/v1/logs/bulk", { logs: [entry()] }),
      403,
      "tenant_unknown",
    );
    for (const path of ["/api/v1/logs", "/api/v1/logs/stats", "/api/v1/logs/export"])
      expectProblem(await caller(closed, claims).get(path), 403, "tenant_unknown");
    const settings = `/api/v1/tenants/${claims.tenant_id}`;
    expectProblem(await caller(closed, claims).get(settings), 403, "tenant_unknown");
    await caller({}, claims).create();
    await caller(closed, claims).create();
    expect((await caller(closed, claims).get("/api/v1/logs")).status).toBe(200);
  });

  test("without a default role refuses a token that names none", async () => {
    expectProblem(
      await caller({ DEFAULT_ROLE: undefined }, { role: undefined }).get("/api/v1/logs"),
      403,
      "role_missing",
    );
  });

  test("may ask for an issuer and an audience", async () => {
    const strict = { JWT_ISSUER: "https://issuer", JWT_AUDIENCE: "audit" };
    expectProblem(await caller(strict).get("/api/v1/logs"), 401, "unauthenticated");
    expectProblem(
      await caller(strict, { iss: "https://issuer", aud: "other" }).get("/api/v1/logs"),
      401,
      "unauthenticated",
    );
    expect(
      (await caller(strict, { iss: "https://issuer", aud: "audit" }).get("/api/v1/logs")).status,
    ).toBe(200);
  });
});

describe("health", () => {
  /** Calls that leave the Worker, while this runs. */
  async function calls(run: () => Promise<unknown>): Promise<number> {
    const fetch = vi.spyOn(globalThis, "fetch");
    await run();
    return fetch.mock.calls.length;
  }

  test("asks the parts once for many who ask at the same time, and a moment later", async () => {
    const one = workersWith({});
    const once = await calls(() => one.fetch("/health"));
    expect(once).toBeGreaterThan(5);
    vi.restoreAllMocks();
    expect(await calls(() => one.fetch("/health"))).toBe(0);
    vi.restoreAllMocks();
    const other = workersWith({});
    const asked = Array.from({ length: 50 }, () => other.fetch("/health"));
    expect(await calls(() => Promise.all(asked))).toBeLessThanOrEqual(once);
  });

  test("asks again when some seconds have gone by", async () => {
    const one = workersWith({});
    await one.fetch("/health");
    const now = Date.now();
    vi.spyOn(Date, "now").mockImplementation(() => now + 3_000);
    expect(await calls(() => one.fetch("/health"))).toBeGreaterThan(5);
  });

  test("shows a platform admin the parts, who needs no tenant", async () => {
    const claims = { role: "platform_admin", tenant_id: undefined };
    const { body } = await callerOf(workers, claims).get("/health");
    expect(body).toMatchObject({ checks: { database: { status: "ok" } } });
  });

  test("is degraded while the outbox is older than ten minutes, and writes are taken", async () => {
    const tenant = newTenant();
    const id = firstIdAt(Date.now() - 601_000);
    await rowsOf(
      sql`insert into pending_index (tenant_id, log_id, due_at) values (${tenant}, ${id}, now() + interval '1 hour')`,
    );
    try {
      const { status, body } = await caller({}).get("/health");
      expect(status).toBe(200);
      expect(body).toMatchObject({ status: "degraded", backpressure: true });
      expect(body).toMatchObject({ outbox: { oldest_age_seconds: expect.closeTo(601, -1) } });
      await caller({}).create();
    } finally {
      await rowsOf(sql`delete from pending_index where tenant_id = ${tenant}`);
    }
  });

  const statusOf = async (changes: Record<string, string | undefined>) =>
    (await caller(changes).get("/api/v1/health")).body;

  test("tells a signed-in caller of every part, and others only the sum", async () => {
    const whole = { status: "ok", latency_ms: expect.any(Number) };
    const queue = {
      ...whole,
      depth: expect.any(Number),
      in_flight: expect.any(Number),
      dead_letters: expect.any(Number),
    };
    expect(await statusOf({})).toEqual({
      status: expect.stringMatching(/^(ok|degraded)$/),
      checks: {
        database: whole,
        opensearch: expect.anything(),
        sqs_log_queue: queue,
        sqs_export_queue: queue,
        s3: whole,
      },
      outbox: {
        logs: expect.any(Number),
        oldest_age_seconds: expect.any(Number),
        unsearchable: expect.any(Number),
      },
      backpressure: expect.any(Boolean),
      version: packageInfo.version,
    });
    for (const headers of [
      {},
      { Authorization: "Bearer nonsense" },
      { Authorization: `Bearer ${await token({ exp: 1 })}` },
    ]) {
      const response = await workers.fetch("/health", { headers });
      expect(response.status).toBe(200);
      expect(Object.keys((await response.json()) as object)).toEqual(["status"]);
    }
  });

  test.each(["OPENSEARCH_HOST", "SQS_ENDPOINT", "AWS_ENDPOINT_URL", "EXPORT_S3_BUCKET"])(
    "is degraded without %s",
    async (name) => {
      const value = name === "EXPORT_S3_BUCKET" ? "no-such-bucket" : nowhere;
      expect(await statusOf({ [name]: value })).toMatchObject({
        status: "degraded",
        checks: { database: { status: "ok" } },
      });
    },
  );
});

test("the OpenAPI document names every route", async () => {
  const response = await workers.fetch("/api/v1/openapi.json");
  const document = (await response.json()) as { openapi: string; paths: Record<string, object> };
  expect(document.openapi).toBe("3.1.0");
  expect(Object.keys(document.paths).toSorted()).toEqual([
    "/health",
    "/logs",
    "/logs/bulk",
    "/logs/cleanup",
    "/logs/export",
    "/logs/export/{pipeline_id}",
    "/logs/export/{pipeline_id}/retry",
    "/logs/stats",
    "/logs/{log_id}",
    "/operations/dead-letters",
    "/operations/dead-letters/redrive",
    "/operations/reindex",
    "/operations/reindex/{month}",
    "/tenants",
    "/tenants/{tenant_id}",
    "/tenants/{tenant_id}/keys",
    "/tenants/{tenant_id}/keys/{key_id}",
  ]);
});

test("the docs page comes with all its parts", async () => {
  const page = await workers.fetch("/docs");
  const html = await page.text();
  expect(page.headers.get("Content-Type")).toContain("text/html");
  expect(page.headers.get("Content-Security-Policy")).toContain("script-src 'self'");
  const parts = [...html.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map((match) => match[1] ?? "");
  expect(parts).toHaveLength(3);
  for (const part of parts) expect((await workers.fetch(part)).status).toBe(200);
  expect((await workers.fetch("/api/v1/docs/other.js")).status).toBe(404);
});
