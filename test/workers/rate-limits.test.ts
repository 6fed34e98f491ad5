import { sql } from "drizzle-orm";
import { afterEach, describe, expect, test, vi } from "vitest";
import { rateLimits, windowSeconds } from "../../worker/limits/rate-limits.ts";
import { type Answer, callerOf, entry, expectProblem, newTenant } from "../journeys/api.ts";
import { rowsOf } from "./database.ts";
import { withoutLimits, workers, workersWith } from "./tools.ts";

const platform = callerOf(workers, { role: "platform_admin", tenant_id: undefined, sub: "root" });
const { low } = rateLimits;

afterEach(() => {
  vi.restoreAllMocks();
});

/** A tenant of the tier, which this isolate knows to be in it. */
async function tenantIn(tier: string | null): Promise<string> {
  const id = newTenant();
  expect((await platform.post("/api/v1/tenants", { id })).status).toBe(201);
  const changed = await platform.call("PATCH", `/api/v1/tenants/${id}`, { rate_tier: tier });
  expect(changed.status, changed.text).toBe(200);
  await callerOf(workers, { tenant_id: id, sub: "first" }).get(`/api/v1/tenants/${id}`);
  return id;
}

/**
 * Some at a time, of which none is refused for that. A window may end in the midst: twice its requests and one
 * more are too many of two.
 */
async function send(times: number, one: () => Promise<Answer>, atOnce = 8): Promise<Answer[]> {
  const answers: Answer[] = [];
  while (answers.length < times) {
    const next = Math.min(atOnce, times - answers.length);
    answers.push(...(await Promise.all(Array.from({ length: next }, one))));
  }
  return answers;
}
const tooMany = (limit: number) => 2 * limit + 1;
const limited = (answers: Answer[]) => answers.filter(({ status }) => status === 429);

/** Waits until a window has just begun, so that what follows is in one. */
async function windowStart(): Promise<void> {
  const windowMs = windowSeconds * 1_000;
  const left = windowMs - (Date.now() % windowMs);
  // Enough of it is left for some hundred requests.
  if (left < windowMs / 2) await sleep(left + 50);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

describe("a caller that asks for too much", () => {
  test("is told to wait, and what the limits are", async () => {
    const caller = callerOf(workers, { tenant_id: await tenantIn("low") });
    const answers = await send(tooMany(low.writes.caller), () =>
      caller.post("/api/v1/logs", entry()),
    );
    const [refused, ...more] = limited(answers);
    if (!refused) throw new Error("Nothing was refused.");
    expectProblem(refused, 429, "rate_limited");
    expect(refused.headers.get("Retry-After")).toBe("10");
    const policy = '"caller-writes";q=50;w=10, "tenant-writes";q=100;w=10';
    expect(answers.map((answer) => answer.headers.get("RateLimit-Policy"))).toEqual(
      answers.map(() => policy),
    );
    expect(refused.text).toContain("more than 50 writes of this caller in 10 seconds");
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(
      answers.length - more.length - 1,
    );
  });

  test("stored what was answered 201, and no more", async () => {
    const tenant = await tenantIn("low");
    const caller = callerOf(workers, { tenant_id: tenant });
    const answers = await send(tooMany(low.writes.caller), () =>
      caller.post("/api/v1/logs", entry()),
    );
    const [count] = await rowsOf(
      sql`
        select count(*)::int as n from audit_logs
        where tenant_id = ${tenant} and not starts_with(action, 'audit_log.')`,
    );
    expect(limited(answers).length).toBeGreaterThan(0);
    expect(count?.["n"]).toBe(answers.length - limited(answers).length);
  });

  test("takes nothing from others of its tenant, nor from its own reads", async () => {
    const tenant = await tenantIn("low");
    const [loud, quiet] = ["loud", "quiet"].map((sub) =>
      callerOf(workers, { tenant_id: tenant, sub }),
    );
    if (!loud || !quiet) throw new Error("unreachable");
    await windowStart();
    const answers = await send(150, () => loud.post("/api/v1/logs", entry()));
    expect(limited(answers).length).toBeGreaterThanOrEqual(100);
    await quiet.create();
    expect((await loud.get(`/api/v1/tenants/${tenant}`)).status).toBe(200);
    await loud.createAll([{}]);
  });

  test("is refused before its body is read, or anything is asked", async () => {
    const caller = callerOf(workersWith({}), { tenant_id: await tenantIn("low") });
    await send(
      tooMany(low.bulks.caller),
      () => caller.post("/api/v1/logs/bulk", { logs: [entry()] }),
      low.bulks.atOnce,
    );
    const fetch = vi.spyOn(globalThis, "fetch");
    const body = "x".repeat(5_000_000);
    const answers = await send(
      tooMany(low.bulks.caller),
      () => caller.call("POST", "/api/v1/logs/bulk", body),
      low.bulks.atOnce,
    );
    // The others are too large.
    expect(new Set(answers.map(({ status }) => status))).toEqual(
      new Set(limited(answers).length === answers.length ? [429] : [429, 413]),
    );
    expect(fetch).not.toHaveBeenCalled();
  });
});

describe("a tenant that has too much under way", () => {
  test("is refused what comes besides, and goes on when that is over", async () => {
    const caller = callerOf(workers, { tenant_id: await tenantIn("standard") });
    const bulk = () => caller.post("/api/v1/logs/bulk", { logs: [entry()] });
    const { atOnce } = rateLimits.standard.bulks;
    const answers = await Promise.all(Array.from({ length: 2 * atOnce }, bulk));
    const [refused] = limited(answers);
    if (!refused) throw new Error("Nothing was refused.");
    expectProblem(refused, 429, "rate_limited");
    expect(refused.headers.get("Retry-After")).toBe("1");
    expect(refused.text).toContain(`${atOnce} bulks of this tenant are under way`);
    expect((await bulk()).status).toBe(201);
  });

  test("gives places back also where a request fails", async () => {
    const caller = callerOf(workers, { tenant_id: await tenantIn("standard") });
    const { atOnce } = rateLimits.standard.writes;
    const answers = await send(2 * atOnce, () => caller.post("/api/v1/logs", {}), atOnce);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([422]));
  });

  test("takes no place from another tenant", async () => {
    const [one, other] = [await tenantIn("standard"), await tenantIn("standard")];
    const { atOnce } = rateLimits.standard.bulks;
    const bulks = (tenant: string) =>
      Array.from({ length: atOnce }, () =>
        callerOf(workers, { tenant_id: tenant }).post("/api/v1/logs/bulk", { logs: [entry()] }),
      );
    const answers = await Promise.all([...bulks(one), ...bulks(other)]);
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
  });
});

describe("a caller that sends its bulks too fast", () => {
  const bulkOf = (caller: ReturnType<typeof callerOf>) => () =>
    caller.post("/api/v1/logs/bulk", { logs: [entry()] });

  test("is told to wait until there is room for the next, and then goes on", async () => {
    const bulk = bulkOf(callerOf(workers, { tenant_id: await tenantIn("low") }));
    const answers = await send(4, bulk, 1);
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 429, 429]);
    const refused = answers[2];
    if (!refused) throw new Error("unreachable");
    expectProblem(refused, 429, "rate_limited");
    expect(refused.headers.get("Retry-After")).toMatch(/^[12]$/);
    expect(refused.text).toContain("5 bulks of this caller in 10 seconds are let through evenly");
    await sleep(2_000);
    expect((await bulk()).status).toBe(201);
  });

  test("asks the platform for nothing then, and keeps no place", async () => {
    const asked = vi.fn(() => Promise.resolve({ success: true }));
    const limiters = {
      LIMIT_LOW_CALLER_BULKS: { limit: asked },
      LIMIT_LOW_TENANT_BULKS: { limit: asked },
    };
    const caller = callerOf(workersWith(limiters), { tenant_id: await tenantIn("low") });
    const refused = limited(await send(10, bulkOf(caller), 1));
    expect(refused).toHaveLength(8);
    expect(asked).toHaveBeenCalledTimes(4);
    expect(refused.every(({ text }) => text.includes("let through evenly"))).toBe(true);
  });

  test("takes nothing from its tenant's other callers by what is refused", async () => {
    const tenant = await tenantIn("standard");
    const bulks = (sub: string) =>
      send(9, bulkOf(callerOf(workers, { tenant_id: tenant, sub })), 1);
    for (const sub of ["one", "two"])
      expect(limited(await bulks(sub)).length).toBeLessThanOrEqual(4);
  });

  test("may send single logs as they come", async () => {
    const caller = callerOf(workers, { tenant_id: await tenantIn("standard") });
    const answers = await send(150, () => caller.post("/api/v1/logs", entry()));
    expect(limited(answers)).toEqual([]);
  });
});

describe("a tenant whose callers together ask for too much", () => {
  test("is refused, while another tenant is not", async () => {
    const [flooded, other] = [await tenantIn("low"), await tenantIn("low")];
    let n = 0;
    const answers = await send(3 * low.reads.tenant, () =>
      callerOf(workers, { tenant_id: flooded, sub: `user ${n++ % 20}` }).get(
        `/api/v1/logs/${crypto.randomUUID()}`,
      ),
    );
    const refused = limited(answers);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0]?.text).toContain("more than 100 reads of this tenant");
    const quiet = await send(20, () =>
      callerOf(workers, { tenant_id: other }).get(`/api/v1/logs/${crypto.randomUUID()}`),
    );
    expect(limited(quiet)).toEqual([]);
  });
});

describe("a tier", () => {
  test("is set by a platform admin, shown to the tenant, and null is the default", async () => {
    const id = await tenantIn("high");
    const admin = callerOf(workers, { tenant_id: id });
    const path = `/api/v1/tenants/${id}`;
    expect((await admin.get(path)).body).toMatchObject({ data: { rate_tier: "high" } });
    const reset = await platform.call("PATCH", path, { rate_tier: null });
    expect(reset.body).toMatchObject({ data: { rate_tier: "standard" } });
    const own = await admin.call("PATCH", path, { rate_tier: "high" });
    expect(expectProblem(own, 403, "forbidden")).toEqual(["/rate_tier"]);
    const unknown = await platform.call("PATCH", path, { rate_tier: "platinum" });
    expect(expectProblem(unknown, 422, "validation_failed")).toEqual(["/rate_tier"]);
  });

  test("holds from the first request after the one that learned of it", async () => {
    const id = await tenantIn("high");
    const caller = callerOf(workers, { tenant_id: id });
    const policyOf = async () =>
      (await caller.get(`/api/v1/tenants/${id}`)).headers.get("RateLimit-Policy");
    expect(await policyOf()).toBe('"caller-reads";q=2500;w=10, "tenant-reads";q=5000;w=10');
    await platform.call("PATCH", `/api/v1/tenants/${id}`, { rate_tier: "low" });
    await policyOf();
    expect(await policyOf()).toBe('"caller-reads";q=50;w=10, "tenant-reads";q=100;w=10');
  });

  test("of no limits says none, and refuses nothing", async () => {
    const caller = callerOf(workers, { tenant_id: await tenantIn("unlimited") });
    const answers = await send(tooMany(low.bulks.tenant), () =>
      caller.post("/api/v1/logs/bulk", { logs: [entry()] }),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    expect(answers[0]?.headers.has("RateLimit-Policy")).toBe(false);
  });
});

describe("what is not limited", () => {
  test.each(["/health", "/api/v1/openapi.json", "/api/v1/docs"])("is %s", async (path) => {
    const caller = callerOf(workers, { tenant_id: await tenantIn("low") });
    const answers = await send(tooMany(low.reads.caller), () => caller.get(path));
    expect(limited(answers)).toEqual([]);
  });

  test("is what a platform admin does", async () => {
    const tenant = await tenantIn("low");
    const answers = await send(tooMany(low.reads.tenant), () =>
      platform.get(`/api/v1/tenants/${tenant}`),
    );
    expect(limited(answers)).toEqual([]);
  });
});

describe("a deployment without limiters", () => {
  let lines: string[] = [];

  async function flood(changes: Record<string, unknown>): Promise<Answer[]> {
    lines = [];
    vi.spyOn(console, "warn").mockImplementation((line) => void lines.push(String(line)));
    const caller = callerOf(workersWith({ LOG_LEVEL: "WARNING", ...changes }), {
      tenant_id: await tenantIn("low"),
    });
    return send(tooMany(low.writes.tenant), () => caller.post("/api/v1/logs", entry()));
  }

  test("lets everything through, and says so once", async () => {
    expect(limited(await flood(withoutLimits))).toEqual([]);
    expect(lines.filter((line) => line.includes("rate_limits_missing"))).toHaveLength(1);
  });

  test("or whose limiters fail or hang, lets everything through", async () => {
    const broken = { limit: () => Promise.reject(new Error("broken")) };
    const hanging = { limit: () => new Promise(() => {}) };
    expect(
      limited(await flood({ LIMIT_LOW_CALLER_WRITES: broken, LIMIT_LOW_TENANT_WRITES: hanging })),
    ).toEqual([]);
    expect(lines.some((line) => line.includes("broken"))).toBe(true);
    expect(lines.some((line) => line.includes("no answer within"))).toBe(true);
  });
});

describe("made-up API keys", () => {
  const ask = (address: Record<string, string>) =>
    callerOf(workers, {}).call("GET", "/api/v1/logs", undefined, {
      Authorization: `Bearer al_${`${crypto.randomUUID()}${crypto.randomUUID()}`.slice(0, 43)}`,
      ...address,
    });

  test("from one address are refused before the database is asked, and none of another", async () => {
    const answers = await send(201, () => ask({ "CF-Connecting-IP": "2001:db8:1:1::1" }));
    const refused = limited(answers);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0]?.headers.get("Retry-After")).toBe("10");
    expectProblem(await ask({ "CF-Connecting-IP": "2001:db8:1:2::1" }), 401, "unauthenticated");
  });
});
