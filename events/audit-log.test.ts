import { describe, expect, test } from "vitest";
import { auditLogSchema } from "./audit-log-answer.ts";
import { type AuditLog, auditLogJson, sentAuditLog, timestamp } from "./audit-log.ts";

const required = { action: "document.deleted", resource_type: "document", resource_id: "doc_42" };
/** JSON Pointers of what is refused. */
const refused = (fields: object) => {
  const result = sentAuditLog.safeParse({ ...required, ...fields });
  return (result.error?.issues ?? []).map((issue) => `/${issue.path.join("/")}`);
};

describe("a sent audit log", () => {
  test("needs an action, a resource type and a resource id", () => {
    const issues = sentAuditLog.safeParse({}).error?.issues.map((issue) => issue.path.join());
    expect(issues).toEqual(["action", "resource_type", "resource_id"]);
    for (const field of ["action", "resource_type", "resource_id"]) {
      for (const value of ["", null, 1, ["x"]])
        expect(refused({ [field]: value })).toEqual([`/${field}`]);
    }
  });

  test.each([
    [{ unknown: 1 }],
    [{ tenant_id: "other" }],
    [{ id: "0198c0de-0000-7000-8000-000000000000" }],
    [{ created_at: "2026-01-31T09:30:00Z" }],
    [JSON.parse('{"__proto__":{}}') as object],
  ])("may not hold %j", (fields) => {
    const result = sentAuditLog.safeParse(
      Object.defineProperties({ ...required }, Object.getOwnPropertyDescriptors(fields)),
    );
    expect(result.error?.issues.map((issue) => issue.code)).toEqual(["unrecognized_keys"]);
  });

  test.each([
    ["action", "x".repeat(256)],
    ["action", "audit_log.read"],
    ["action", "Audit_Log.READ"],
    ["action", " audit_log.read"],
    ["action", "audit_\u200Blog\u00AD.read"],
    ["action", "\uFEFF\u2003audit_log\t.read"],
    ["action", "\u0000audit_log.read"],
    ["action", "\uFF41\uFF55\uFF44\uFF49\uFF54\uFF3F\uFF4C\uFF4F\uFF47\uFF0Eread"],
    ["resource_type", "x".repeat(256)],
    ["severity", "FATAL"],
    ["severity", 3],
    ["outcome", "SUCCESS"],
    ["actor_type", "robot"],
    ["event_id", ""],
    ["event_id", "x".repeat(256)],
    ["metadata", []],
    ["metadata", "{}"],
    ["before_state", 1],
    ["user_id", 7],
    ["targets", {}],
    ["targets", Array.from({ length: 21 }, () => ({ type: "t", id: "1" }))],
    ["occurred_at", Date.now()],
    ["occurred_at", new Date(Date.now() + 6 * 60_000).toISOString()],
  ])("is refused with %s: %j", (field, value) => {
    expect(refused({ [field]: value })).toEqual([`/${field}`]);
  });

  test("has its problems told all at once", () => {
    const fields = {
      action: "",
      severity: "x",
      targets: [
        { type: "t", id: "" },
        { type: "t", id: "1", more: 1 },
      ],
      nope: 1,
    };
    expect(refused(fields)).toEqual(["/action", "/severity", "/targets/0/id", "/targets/1", "/"]);
  });

  test.each([
    [{ severity: "warning" }],
    [{ severity: "Critical" }],
    [{ user_id: "", email: "no address", ip_address: "nowhere", user_agent: "x".repeat(100_000) }],
    [
      {
        metadata: null,
        targets: null,
        occurred_at: null,
        event_id: null,
        description: null,
        outcome: null,
      },
    ],
    [{ targets: [{ type: "t", id: "1", name: null }] }],
    [{ occurred_at: new Date(Date.now() + 4 * 60_000).toISOString() }],
    [{ occurred_at: "1969-07-20T20:17:40Z" }],
    [{ action: "audit_logs.read" }],
  ])("may be %j", (fields) => {
    expect(refused(fields)).toEqual([]);
  });

  test("may be nested 20 deep, and no deeper", () => {
    const nested = (depth: number): unknown => (depth === 0 ? 1 : { a: nested(depth - 1) });
    expect(refused({ metadata: nested(20) })).toEqual([]);
    expect(refused({ metadata: nested(21), after_state: { list: [[nested(18)]] } })).toEqual([
      "/metadata",
      "/after_state",
    ]);
  });
});

describe("a time", () => {
  test.each([
    ["2026-01-31T09:30:00Z", "2026-01-31T09:30:00.000Z"],
    ["2026-01-31T09:30:00.123456789Z", "2026-01-31T09:30:00.123Z"],
    ["2026-01-31T00:30:00.5+05:30", "2026-01-30T19:00:00.500Z"],
    ["2026-01-31t09:30:00z", "2026-01-31T09:30:00.000Z"],
    ["2028-02-29T23:59:59-00:00", "2028-02-29T23:59:59.000Z"],
  ])("%s is %s", (text, utc) => {
    expect(new Date(timestamp.parse(text)).toISOString()).toBe(utc);
  });

  test.each([
    "2026-01-31",
    "2026-01-31T09:30:00",
    "2026-01-31 09:30:00Z",
    "2026-01-31T09:30Z",
    "2026-02-30T09:30:00Z",
    "2027-02-29T09:30:00Z",
    "2026-13-01T09:30:00Z",
    "2026-00-10T09:30:00Z",
    "2026-01-31T24:00:00Z",
    "2026-01-31T09:60:00Z",
    "2026-01-31T09:30:00+24:00",
    "2026-01-31T09:30:00.Z",
    "+002026-01-31T09:30:00Z",
    "1899-12-31T23:59:59Z",
    " 2026-01-31T09:30:00Z",
    "2026-01-31T09:30:00Z\n",
    "now",
    "",
  ])("%j is none", (text) => {
    expect(timestamp.safeParse(text).success).toBe(false);
  });
});

describe("an answered audit log", () => {
  const log: AuditLog = {
    id: "0198c0de-0000-7000-8000-000000000000",
    tenant_id: "acme",
    created_at: "2026-01-31T09:30:00.000Z",
    occurred_at: "2026-01-31T09:29:59.000Z",
    ...required,
    severity: "INFO",
    outcome: null,
    actor_type: "user",
    actor_name: 'Nora "N"\n',
    user_id: null,
    email: null,
    session_id: null,
    request_id: null,
    ip_address: null,
    user_agent: null,
    resource_name: null,
    description: "é😀",
    event_id: null,
    recorded_by: "alice",
    metadata: '{"b":9007199254740993,"10":1.10,"a":1e400}',
    before_state: null,
    after_state: "{}",
    targets: '[{"type":"folder","id":"f_1"}]',
    truncated_fields: null,
    masked_fields: null,
  };

  test("has the objects as they are stored, to the digit", () => {
    expect(auditLogJson(log)).toContain('"metadata":{"b":9007199254740993,"10":1.10,"a":1e400}');
  });

  test("has every field of its schema and no other", () => {
    const full = { ...log, truncated_fields: '["/user_agent"]', masked_fields: '["/email"]' };
    const answer: unknown = JSON.parse(auditLogJson(full));
    expect(auditLogSchema.parse(answer)).toEqual(answer);
    expect(Object.keys(answer ?? {}).toSorted()).toEqual(
      Object.keys(auditLogSchema.shape).toSorted(),
    );
    expect(answer).toMatchObject({
      actor_name: 'Nora "N"\n',
      before_state: null,
      truncated_fields: ["/user_agent"],
    });
  });

  test("has the lists of paths only where they are not empty", () => {
    const answer: unknown = JSON.parse(auditLogJson(log));
    expect(answer).not.toHaveProperty("truncated_fields");
    expect(answer).not.toHaveProperty("masked_fields");
    expect(answer).toHaveProperty("before_state", null);
    expect(auditLogSchema.safeParse(answer).success).toBe(true);
  });

  test("never tells what only filters use", () => {
    const stored = { ...log, email_hash: "hash", rev: 1 };
    expect(auditLogJson(stored)).not.toMatch(/hash|rev"/);
  });
});
