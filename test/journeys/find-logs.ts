import { beforeAll, describe, expect, test } from "vitest";
import { callerOf, createdMany, entry, expectProblem, newTenant, type Target } from "./api.ts";

const logs = [
  {
    resource_id: "0",
    action: "user.login",
    user_id: "u_1",
    severity: "INFO",
    ip_address: "203.0.113.7",
    description: "Signed in from the office",
  },
  {
    resource_id: "1",
    action: "user.logout",
    user_id: "u_1",
    session_id: "s_1",
    ip_address: "203.0.113.200",
  },
  {
    resource_id: "2",
    action: "user.login",
    user_id: "u_2",
    outcome: "denied",
    severity: "ERROR",
    ip_address: "2001:db8::1",
    description: "Too many failed attempts",
  },
  {
    resource_id: "3",
    action: "document.deleted",
    user_id: "u_2",
    actor_type: "service",
    resource_type: "file",
    request_id: "req_1",
    targets: [
      { type: "folder", id: "f_1" },
      { type: "folder", id: "f_2" },
    ],
  },
  {
    resource_id: "4",
    action: "document.shared",
    email: "Nora@Example.com",
    metadata: { plan: { name: "pro", seats: 5 }, tags: ["red", "blue"], "a.b": "dotted" },
  },
  {
    resource_id: "5",
    action: "documents",
    email: "sam@example.com",
    metadata: { big: "@big", nothing: null, yes: true },
  },
  {
    resource_id: "6",
    action: "user.updated",
    before_state: { title: "Clerk" },
    after_state: { title: "Head of Übersetzung" },
    occurred_at: "2025-06-01T00:00:00Z",
  },
  { resource_id: "7", action: "100%_done", user_agent: "curl/8.5", ip_address: "not an address" },
];

/** Every filter, the search syntax, and stats. OpenSearch and Postgres must find the same. */
export function findLogsJourneys(target: Target, source: "opensearch" | "postgres"): void {
  describe(`finding logs in ${source}`, () => {
    const caller = callerOf(target, { tenant_id: newTenant(), role: "admin", sub: "alice" });
    let ids: string[] = [];

    beforeAll(async () => {
      // A number that a JavaScript object cannot hold.
      const body = JSON.stringify({ logs: logs.map((log) => entry(log)) }).replace(
        '"@big"',
        "9007199254740993",
      );
      const answer = await caller.post("/api/v1/logs/bulk", body);
      expect(answer.status, answer.text).toBe(201);
      ids = createdMany.parse(answer.body).data.log_ids;
      await caller.settled();
    });

    async function found(query: Record<string, string> | [string, string][]): Promise<string> {
      const answer = await caller.list(query);
      expect(answer.source).toBe(source);
      expect(answer.total).toBe(answer.items.length);
      return answer.items.map((item) => item["resource_id"]).join("");
    }

    test.each<[Record<string, string> | [string, string][], string]>([
      [{}, "76543210"],
      [{ order: "asc" }, "01234567"],
      [{ action: "user.login" }, "20"],
      [{ action: "user.*" }, "6210"],
      [{ action: "document.*" }, "43"],
      [{ action: "document*" }, "543"],
      [{ action: "100%_done" }, "7"],
      [{ action: "100__done" }, ""],
      [
        [
          ["action", "documents"],
          ["action", "user.log*"],
        ],
        "5210",
      ],
      [{ user_id: "u_1" }, "10"],
      [
        [
          ["user_id", "u_1"],
          ["user_id", "u_2"],
        ],
        "3210",
      ],
      [{ user_id: "u_1", action: "user.logout" }, "1"],
      [{ user_id: "U_1" }, ""],
      [{ severity: "error" }, "2"],
      [{ outcome: "denied" }, "2"],
      [{ actor_type: "service" }, "3"],
      [{ resource_type: "file" }, "3"],
      [{ resource_id: "5" }, "5"],
      [{ session_id: "s_1" }, "1"],
      [{ request_id: "req_1" }, "3"],
      [{ target_id: "f_2" }, "3"],
      [{ target_id: "f" }, ""],
      [{ email: "nora@example.com" }, "4"],
      [{ email: "n***@example.com" }, ""],
      [{ ip_address: "203.0.113.7" }, "0"],
      [{ ip_address: "203.0.113.0/24" }, "10"],
      [{ ip_address: "203.0.113.0/28" }, "0"],
      [{ ip_address: "2001:db8::/32" }, "2"],
      [{ ip_address: "2001:0db8:0:0::1" }, "2"],
      [{ ip_address: "not an address" }, "7"],
      [{ "metadata.plan.name": "pro" }, "4"],
      [{ "metadata.plan.seats": "5", "metadata.tags": "blue" }, "4"],
      [
        [
          ["metadata.tags", "blue"],
          ["metadata.tags", "green"],
        ],
        "4",
      ],
      [{ "metadata.a.b": "dotted" }, "4"],
      [{ "metadata.big": "9007199254740993" }, "5"],
      [{ "metadata.big": "9007199254740992" }, ""],
      [{ "metadata.nothing": "null", "metadata.yes": "true" }, "5"],
      [{ occurred_to: "2026-01-01T00:00:00Z" }, "6"],
      [
        { occurred_from: "2025-06-01T02:00:00+02:00", occurred_to: "2025-06-01T00:00:00.001Z" },
        "6",
      ],
      [{ occurred_from: "2025-06-01T00:00:00.001Z", user_id: "u_1" }, "10"],
      [{ occurred_from: "9999-12-31T23:59:59.999Z" }, ""],
      [{ from: "2020-01-01T00:00:00Z", to: "2021-01-01T00:00:00Z" }, ""],
      [{ from: "2020-01-01T00:00:00Z", user_id: "u_1" }, "10"],
    ])("%j finds %j", async (query, expected) => {
      expect(await found(query)).toBe(expected);
    });

    test.each([
      ["office", "0"],
      ["OFFICE signed", "0"],
      ["login", "20"],
      ["user.login", "20"],
      ['"failed attempts"', "2"],
      ['"attempts failed"', ""],
      ["login -failed", "0"],
      ["logi*", "20"],
      ["user.log*", "210"],
      ["pro", "4"],
      ["9007199254740993", "5"],
      ["Clerk", "6"],
      ["head Übersetzung", "6"],
      ["f_2", "3"],
      ["curl/8.5", "7"],
      ["nowhere", ""],
    ])("search=%s finds %j", async (search, expected) => {
      expect(await found({ search })).toBe(expected);
    });

    test("a log of many values under a very long key holds up no filter by metadata", async () => {
      const writer = callerOf(target, { tenant_id: newTenant(), role: "admin", sub: "alice" });
      const key = "k".repeat(128_000);
      const id = await writer.create({
        metadata: { plan: "pro", [key]: Array<number>(60_000).fill(7) },
      });
      await writer.settled();
      const { items } = await writer.list({ "metadata.plan": "pro" });
      expect(items.map((item) => item.id)).toEqual([id]);
      expect((await writer.list({ "metadata.plan": "free" })).items).toEqual([]);
    });

    test("from is inclusive and to is exclusive, on created_at", async () => {
      const { items } = await caller.list({ page_size: "1" });
      const createdAt = String(items[0]?.["created_at"]);
      const after = new Date(Date.parse(createdAt) + 1).toISOString();
      expect(await found({ from: createdAt, to: after })).toBe("76543210");
      expect(await found({ to: createdAt })).toBe("");
      expect(await found({ from: after })).toBe("");
    });

    test("numbered pages and cursors give the same order", async () => {
      const pages = await Promise.all(
        ["1", "2", "3"].map((page) => caller.list({ page, page_size: "3" })),
      );
      expect(pages.flatMap((page) => page.items.map((item) => item.id))).toEqual(ids.toReversed());
      expect(pages.map((page) => page.total)).toEqual([8, 8, 8]);

      const seen: string[] = [];
      let cursor: string | null = "";
      while (cursor !== null) {
        const page = await caller.list({ page_size: "3", ...(cursor === "" ? {} : { cursor }) });
        expect(page.total).toBe(8);
        seen.push(...page.items.map((item) => item.id));
        cursor = page.next_cursor;
      }
      expect(seen).toEqual(ids.toReversed());
    });

    test("an ascending list is followed by its cursor, and gives each log once, also what comes later", async () => {
      const reader = callerOf(target, { tenant_id: newTenant(), role: "admin", sub: "alice" });
      const seen: string[] = [];
      let page = await reader.list({ order: "asc", page_size: "3" });
      expect(page.next_cursor).not.toBeNull();
      const written = [...(await reader.createAll([{}, {}, {}, {}])), await reader.create()];
      await reader.settled();
      for (let n = 0; n < 6; n++) {
        page = await reader.list({ order: "asc", page_size: "3", cursor: page.next_cursor ?? "" });
        seen.push(...page.items.map((item) => item.id));
        if (n === 2) {
          written.push(...(await reader.createAll([{}, {}])));
          await reader.settled();
        }
      }
      expect(seen).toEqual(written);
    });

    test("a cursor is refused with other filters or another order", async () => {
      const { next_cursor: cursor } = await caller.list({ page_size: "3" });
      const elsewhere = await caller.get(`/api/v1/logs?cursor=${cursor}&user_id=u_1`);
      expect(expectProblem(elsewhere, 422, "validation_failed")).toEqual(["cursor"]);
      const turned = await caller.get(`/api/v1/logs?cursor=${cursor}&order=asc`);
      expect(expectProblem(turned, 422, "validation_failed")).toEqual(["cursor"]);
    });

    test("stats count what the filters leave", async () => {
      const { body } = await caller.get("/api/v1/logs/stats?action=user.*");
      const today = new Date().toISOString().slice(0, 7);
      expect(body).toMatchObject({
        source,
        data: {
          total: 4,
          action_counts: [
            { key: "user.login", doc_count: 2 },
            { key: "user.logout", doc_count: 1 },
            { key: "user.updated", doc_count: 1 },
          ],
          severity_counts: [
            { key: "INFO", doc_count: 3 },
            { key: "ERROR", doc_count: 1 },
          ],
          resource_type_counts: [{ key: "document", doc_count: 4 }],
          user_counts: [
            { key: "u_1", doc_count: 2 },
            { key: "u_2", doc_count: 1 },
          ],
          timeline: [{ key: `${today}-01T00:00:00.000Z`, doc_count: 4 }],
        },
      });
    });

    test.each([
      [1, "T\\d\\d:00:00.000Z"],
      [24 * 30, "T00:00:00.000Z"],
      [24 * 300, "-01T00:00:00.000Z"],
    ])("the timeline of the last %d hours has buckets to fit", async (hours, key) => {
      const from = new Date(Date.now() - hours * 3_600_000).toISOString();
      const { text } = await caller.get(`/api/v1/logs/stats?from=${from}`);
      expect(text).toMatch(
        new RegExp(`"timeline":\\[\\{"key":"[-\\dT:]*${key}","doc_count":8\\}\\]`),
      );
    });

    test("the last page that a number reaches is answered like any other", async () => {
      expect(await caller.list({ page: "1000" })).toMatchObject({ source, items: [], total: 8 });
      expect(await caller.list({ page: "100", page_size: "100" })).toMatchObject({
        source,
        items: [],
        total: 8,
      });
    });

    test("stats of nothing are empty", async () => {
      const { body } = await caller.get("/api/v1/logs/stats?action=none");
      expect(body).toMatchObject({ data: { total: 0, action_counts: [], timeline: [] } });
    });
  });
}
