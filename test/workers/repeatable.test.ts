import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { callerOf, entry, expectProblem, newTenant } from "../journeys/api.ts";
import { nowhere, workerEnv, workersWith } from "./tools.ts";

beforeEach(() => {
  for (const level of ["warn", "error"] as const)
    vi.spyOn(console, level).mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** Loses requests to the database: each the first time that it is sent, or all. Counts those that were sent. */
function loseRequests(lost: "first" | "all", tenant: string) {
  const real = globalThis.fetch;
  const seen = { count: 0 };
  const bodies = new Set<unknown>();
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    // Tests of other tenants may be at work, and the pollers on what this one has stored.
    const body = String(init?.body);
    const isOurs = body.includes(tenant) && body.includes("audit_api");
    if (url !== workerEnv["NEON_FETCH_ENDPOINT"] || !isOurs) return real(input, init);
    seen.count++;
    const isFirst = !bodies.has(init?.body);
    bodies.add(init?.body);
    if (lost === "all" || isFirst) throw new Error("connection reset");
    return real(input, init);
  });
  return seen;
}

describe("a request to the database that is lost", () => {
  // Lists come from Postgres too.
  const newCaller = (tenant: string) =>
    callerOf(workersWith({ OPENSEARCH_HOST: nowhere }), { tenant_id: tenant });

  test.each(["", "/stats", "/id"])("is made good by a second one: GET /logs%s", async (path) => {
    const tenant = newTenant();
    const caller = newCaller(tenant);
    const id = await caller.create();
    const seen = loseRequests("first", tenant);
    const answer = await caller.get(`/api/v1/logs${path === "/id" ? `/${id}` : path}`);
    expect(answer.status, answer.text).toBe(200);
    expect(answer.text).toContain(path === "/stats" ? '"total":1' : id);
    expect(seen.count).toBeGreaterThanOrEqual(2);
  });

  test("twice is 503", async () => {
    const tenant = newTenant();
    const caller = newCaller(tenant);
    const id = await caller.create();
    const seen = loseRequests("all", tenant);
    expectProblem(await caller.get(`/api/v1/logs/${id}`), 503, "database_unavailable");
    expect(seen.count).toBe(2);
  });

  test("is never repeated where it writes: it may have been stored", async () => {
    const tenant = newTenant();
    const caller = newCaller(tenant);
    const seen = loseRequests("all", tenant);
    expectProblem(await caller.post("/api/v1/logs", entry()), 503, "database_unavailable");
    expect(seen.count).toBe(1);
  });
});
