import { describe, expect, test } from "vitest";
import { auditLogSchema } from "../../events/audit-log-answer.ts";
import { callerOf, entry, newTenant, type Target } from "./api.ts";

/** From POST to GET, list and search: what was sent comes back. */
export function writeAndReadJourneys(target: Target): void {
  const newCaller = () => callerOf(target, { tenant_id: newTenant(), role: "admin", sub: "alice" });

  /** Not what the service records of its own: which reads that is, the deployment says. */
  const sent = { action: entry().action };
  const full = {
    action: "document.deleted",
    resource_type: "document",
    resource_id: "doc_42",
    resource_name: "Q3 report",
    user_id: "u_7",
    actor_type: "service",
    actor_name: "Nora Quist",
    email: "nora@example.com",
    session_id: "s_19",
    request_id: "req_81",
    ip_address: "203.0.113.7",
    user_agent: "Mozilla/5.0",
    severity: "warning",
    outcome: "denied",
    description: "Deleted the Q3 report",
    targets: [
      { type: "folder", id: "f_1", name: "Reports" },
      { type: "team", id: "t_2" },
    ],
    occurred_at: "2026-01-31T10:30:00.5+01:00",
    event_id: "evt_5",
  };
  const stored = {
    ...full,
    email: "n***@example.com",
    severity: "WARNING",
    occurred_at: "2026-01-31T09:30:00.500Z",
    recorded_by: "alice",
    masked_fields: ["/email"],
  };
  // Key order that a JavaScript object loses, digits that a JavaScript number loses, escapes, and depth.
  const odd =
    '{"b":1,"10":{"2":[1.10,9007199254740993,1e400,-0]},"__proto__":{"x":true},"é\\"":"tab\\t\\u00e9"}';

  describe("one log", () => {
    test("comes back as it was sent, from GET and from the list", async () => {
      const caller = newCaller();
      const body = JSON.stringify(full).replace(
        /\}$/,
        `,"metadata":${odd},"before_state":null,"after_state":${odd}}`,
      );
      const answer = await caller.post("/api/v1/logs", body);
      expect(answer.status, answer.text).toBe(201);
      const [, id] = /"id":"([^"]+)"/.exec(answer.text) ?? [];
      expect(answer.headers.get("Location")).toBe(`/api/v1/logs/${id}`);

      const one = await caller.get(`/api/v1/logs/${id}`);
      expect(one.status).toBe(200);
      expect(one.body).toMatchObject({ data: { ...stored, id, before_state: null } });
      const kept = odd.replace("\\u00e9", "é");
      expect(one.text).toContain(`"metadata":${kept}`);
      expect(one.text).toContain(`"after_state":${kept}`);

      await caller.settled();
      const list = await caller.get(`/api/v1/logs?action=${full.action}`);
      const [, item] = /^\{"items":\[(.*)\],"total":1/.exec(list.text) ?? [];
      expect(`{"data":${item}}`).toBe(one.text);
    });

    test("fits the schema that the OpenAPI document shows", async () => {
      const caller = newCaller();
      const id = await caller.create(full);
      const { text } = await caller.get(`/api/v1/logs/${id}`);
      expect(auditLogSchema.safeParse(JSON.parse(text).data).error).toBeUndefined();
    });

    test("needs no more than an action and a resource", async () => {
      const caller = newCaller();
      const id = await caller.create();
      const { body } = await caller.get(`/api/v1/logs/${id}/`);
      expect(body).toMatchObject({
        data: {
          ...entry(),
          severity: "INFO",
          actor_type: "user",
          outcome: null,
          metadata: {},
          before_state: {},
          targets: [],
        },
      });
    });

    test("has a time that its id begins with", async () => {
      const caller = newCaller();
      const { body } = await caller.post("/api/v1/logs", entry());
      const { id, created_at: createdAt } = (body as { data: { id: string; created_at: string } })
        .data;
      expect(Number.parseInt(id.replace("-", "").slice(0, 12), 16)).toBe(Date.parse(createdAt));
      expect(Math.abs(Date.parse(createdAt) - Date.now())).toBeLessThan(10_000);
    });

    test("cannot fail by a hostile value, which is cut and cleaned instead", async () => {
      const caller = newCaller();
      const id = await caller.create({
        user_id: "\u0000'; drop table audit_logs; --",
        user_agent: `${"x".repeat(2047)}🔥`,
        ip_address: "not an address",
        metadata: { nul: "a\u0000b", lone: "\ud800", "k\u0000": 1 },
      });
      const { body } = await caller.get(`/api/v1/logs/${id}`);
      expect(body).toMatchObject({
        data: {
          user_id: "\ufffd'; drop table audit_logs; --",
          user_agent: "x".repeat(2047),
          ip_address: "not an address",
          metadata: { nul: "a\ufffdb", lone: "\ufffd", "k\ufffd": 1 },
          truncated_fields: ["/user_agent"],
        },
      });
    });
  });

  describe("a bulk", () => {
    test("keeps the order of its entries and tells their ids", async () => {
      const caller = newCaller();
      const ids = await caller.createAll(
        Array.from({ length: 100 }, (_, n) => ({ resource_id: `doc_${n}` })),
      );
      expect(ids).toEqual(ids.toSorted());
      await caller.settled();
      const { items, total } = await caller.list({
        ...sent,
        order: "asc",
        page_size: "100",
      });
      expect(total).toBe(100);
      expect(items.map((item) => item["resource_id"])).toEqual(ids.map((_, n) => `doc_${n}`));
    });

    test("with one wrong entry stores none, and names every mistake", async () => {
      const caller = newCaller();
      const logs = [entry(), entry({ action: "", severity: "LOUD" }), { action: "a" }];
      const answer = await caller.post("/api/v1/logs/bulk", { logs });
      expect(answer.status).toBe(422);
      expect(answer.text).toContain('"/logs/1/action"');
      expect(answer.text).toContain('"/logs/1/severity"');
      expect(answer.text).toContain('"/logs/2/resource_id"');
      await caller.settled();
      expect((await caller.list(sent)).total).toBe(0);
    });
  });

  test("a new log is searchable within seconds", async () => {
    const caller = newCaller();
    const id = await caller.create({ description: "an unheard-of thing" });
    await caller.settled();
    const { items } = await caller.list({ ...sent, search: "unheard" });
    expect(items.map((item) => item.id)).toEqual([id]);
  });
}
