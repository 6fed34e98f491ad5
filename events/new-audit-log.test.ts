import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { objectText } from "../test/workers/json-texts.ts";
import { type NewAuditLog, sentAuditLog } from "./audit-log.ts";
import { isTooLarge, newAuditLog } from "./new-audit-log.ts";
import { tenantMask } from "./tenant-mask.ts";

const hashSecret = "a secret of at least 32 characters";
const mask = tenantMask(null, "acme", { hashSecret, extraKeys: [] });
const recording = { tenantId: "acme", recordedBy: "alice", mask, hashSecret };
const required = { action: "document.deleted", resource_type: "document", resource_id: "doc_42" };

function made(entryText: string, at?: string): NewAuditLog {
  return newAuditLog(sentAuditLog.parse(JSON.parse(entryText)), entryText, recording, at);
}
const madeOf = (fields: object) => made(JSON.stringify({ ...required, ...fields }));
const withObject = (text: string, field = "metadata") =>
  made(`${JSON.stringify(required).slice(0, -1)},"${field}":${text}}`);

describe("an entry", () => {
  test("of the required fields gets the defaults", () => {
    expect(madeOf({})).toEqual({
      ...required,
      severity: "INFO",
      outcome: null,
      actor_type: "user",
      actor_name: null,
      user_id: null,
      email: null,
      email_hash: null,
      session_id: null,
      request_id: null,
      ip_address: null,
      user_agent: null,
      resource_name: null,
      description: null,
      event_id: null,
      recorded_by: "alice",
      occurred_at: null,
      metadata: "{}",
      before_state: "{}",
      after_state: "{}",
      targets: "[]",
      truncated_fields: null,
      masked_fields: null,
    });
  });

  test("keeps every field that was sent", () => {
    const fields = {
      severity: "WARNING",
      outcome: "denied",
      actor_type: "service",
      actor_name: "Nora",
      user_id: "u_7",
      session_id: "s_19",
      request_id: "req_81",
      ip_address: "not an address",
      user_agent: "Mozilla/5.0",
      resource_name: "Q3",
      description: "Deleted",
      event_id: "evt_5",
    };
    expect(madeOf(fields)).toMatchObject(fields);
    const log = madeOf({ severity: "debug", occurred_at: "2026-01-31T10:30:00.1239+01:00" });
    expect(log).toMatchObject({ severity: "DEBUG", occurred_at: "2026-01-31T09:30:00.123Z" });
  });

  test("keeps null objects, and null texts as null", () => {
    const log = madeOf({ metadata: null, before_state: null, user_id: null, targets: null });
    expect(log).toMatchObject({
      metadata: null,
      before_state: null,
      after_state: "{}",
      user_id: null,
      targets: "[]",
    });
  });

  test("keeps of targets the type, the id and the name", () => {
    const targets = [
      { type: "folder", id: "f_1", name: "A\0" },
      { type: "t", id: "\uD800", name: null },
    ];
    expect(madeOf({ targets }).targets).toBe(
      '[{"type":"folder","id":"f_1","name":"A\uFFFD"},{"type":"t","id":"\uFFFD"}]',
    );
  });
});

describe("objects", () => {
  test.each(["metadata", "before_state", "after_state"] as const)(
    "in %s keep key order and digits",
    (field) => {
      const text = '{"b":9007199254740993,"10":1.10,"a":1,"a":[1e400,-0],"__proto__":{"x":2}}';
      expect(withObject(text, field)[field]).toBe(text);
    },
  );

  test("come from the last one where the field stands twice, as the validator saw it", () => {
    const log = made(
      `{"metadata":{"a":1},${JSON.stringify(required).slice(1, -1)},"m\\u0065tadata":{"b":2}}`,
    );
    expect(log.metadata).toBe('{"b":2}');
  });

  test.each(['{"a":DEEP,"a":1}', '{"__proto__":DEEP}'])(
    "nested too deep where a parsed value does not show it are refused, and named: %s",
    (shape) => {
      const entry = (depth: number) =>
        `${JSON.stringify(required).slice(0, -1)},"after_state":${shape.replace("DEEP", "[".repeat(depth) + "]".repeat(depth))}}`;
      expect(made(entry(19))).toBeDefined();
      for (const depth of [20, 50_000]) {
        expect(() => made(entry(depth), "/logs/3")).toThrow(
          expect.objectContaining({
            code: "validation_failed",
            errors: [expect.objectContaining({ path: "/logs/3/after_state" })],
          }),
        );
      }
    },
  );
});

describe("what is masked", () => {
  test("is said in masked_fields, once each", () => {
    const log = made(
      JSON.stringify({
        ...required,
        email: "Nora@example.com",
        description: "with Bearer abcdefgh",
        before_state: { cookie: "x" },
        after_state: { list: [{ api_key: 1 }] },
      }).replace("}]}}", '}]},"metadata":{"token":1,"token":2}}'),
    );
    expect(log).toMatchObject({ email: "N***@example.com", description: "with Bearer ***" });
    const paths = [
      "/email",
      "/description",
      "/before_state/cookie",
      "/after_state/list/0/api_key",
      "/metadata/token",
    ];
    expect((JSON.parse(log.masked_fields ?? "") as string[]).toSorted()).toEqual(paths.toSorted());
  });

  test("of an address leaves a hash that filters find", () => {
    const log = madeOf({ email: "nora@example.com" });
    expect(log.email_hash).toMatch(/^[\w-]{43}$/);
    expect(madeOf({ email: "NORA@example.com" }).email_hash).toBe(log.email_hash);
  });

  test("is listed to 100 paths, and cannot make the entry grow", () => {
    const keys = Array.from({ length: 9000 }, (_, n) => `"password${n}":1`).join(",");
    const object = `{"a":{${keys}}}`;
    const short = withObject(`${object},"after_state":${object}`);
    expect(JSON.parse(short.masked_fields ?? "")).toHaveLength(100);
    const long = withObject(`{"a":{"${"k/".repeat(50_000)}":[{${keys}}]}}`);
    expect(long.masked_fields).toBe('["/metadata/a"]');
  });
});

describe("texts of free form", () => {
  const free = [
    "user_id",
    "session_id",
    "request_id",
    "resource_id",
    "ip_address",
    "user_agent",
  ] as const;
  const names = ["actor_name", "resource_name", "description"] as const;

  test.each([...free, ...names])(
    "as %s are cleaned and cut, which truncated_fields says",
    (field) => {
      const log = madeOf({ [field]: `\0${"x".repeat(2046)}😀` });
      expect(log[field]).toBe(`\uFFFD${"x".repeat(2046)}`);
      expect(log.truncated_fields).toBe(`["/${field}"]`);
      expect(madeOf({ [field]: "x".repeat(2048) }).truncated_fields).toBeNull();
    },
  );

  test("as email and in targets are cut too", () => {
    const log = madeOf({
      email: `n@${"x".repeat(3000)}`,
      targets: [
        { type: "t", id: "1" },
        { type: "t", id: "x".repeat(3000), name: "x".repeat(3000) },
      ],
    });
    expect(log.email).toHaveLength(2048);
    expect(log.truncated_fields).toBe('["/targets/1/id","/targets/1/name","/email"]');
  });

  test("are masked before they are cut, so that no half of a secret stays", () => {
    const log = madeOf({ description: `${"x".repeat(2040)} 4111111111111111` });
    expect(log.description).toBe(`${"x".repeat(2040)} ***`);
    expect(log.truncated_fields).toBeNull();
  });
});

describe("every entry", () => {
  const words = [
    "password",
    "secret",
    "token",
    "authorization",
    "cookie",
    "ssn",
    "cvv",
    "iban",
    "phone",
  ].map((word) => [word]);
  const keyOf = fc
    .tuple(
      fc.constantFrom([], ["user"], ["x", "old"]),
      fc.constantFrom(...words, ["api", "key"], ["card", "number"]),
      fc.constantFrom([], ["value"], ["2"], ["backup", "at"]),
    )
    .chain(([before, key, after]) => {
      const all = [...before, ...key, ...after];
      const title = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);
      const camel = all.map(title).join("");
      const spellings = [
        all.join("_"),
        all.join("-"),
        all.join("."),
        all.join(" "),
        camel,
        camel.charAt(0).toLowerCase() + camel.slice(1),
      ];
      return fc.constantFrom(...spellings, all.join("_").toUpperCase(), all.map(title).join("-"));
    });
  const spelledInJson = (key: string, escaped: boolean) =>
    escaped
      ? `"${Array.from(key, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`).join("")}"`
      : JSON.stringify(key);
  const secrets = [
    '"hunter2secret"',
    '["x",{"y":"hunter2secret"}]',
    '{"hunter2secret":1}',
    "31415926530",
    '{"a":[31415926.25,"hunter2secret"]}',
  ];
  const frames = [
    "{INNER}",
    '{"a":[1,{INNER}]}',
    '{"b":{"10":[[{INNER}]]},"c":{}}',
    '{"a":{"a":1,INNER},"a":2}',
    '{"__proto__":{INNER}}',
  ];
  const planted = fc
    .tuple(keyOf, fc.boolean(), fc.constantFrom(...secrets), fc.constantFrom(...frames), objectText)
    .map(([key, escaped, secret, frame, other]) =>
      frame.replace(
        "INNER",
        () => `"other": ${other},${spelledInJson(key, escaped)}: ${secret},"z":0`,
      ),
    );

  test("loses every secret under a masked key, however it is spelled and wherever it stands", () => {
    const field = fc.constantFrom("metadata", "before_state", "after_state");
    fc.assert(
      fc.property(planted, field, (text, name) => {
        const log = withObject(text, name);
        expect(Object.values(log).join("\n")).not.toMatch(/hunter2|31415926/);
        expect(log.masked_fields).not.toBeNull();
      }),
      { numRuns: 300 },
    );
  });

  test("becomes text that Postgres takes: valid JSON, no NUL, no lone surrogate, not as an escape either", () => {
    const odd = fc
      .array(fc.constantFrom("\0", "\uD800", "\uDC00", "😀", "a", "\\", '"', "\u0001", "/"), {
        minLength: 1,
      })
      .map((all) => all.join(""));
    fc.assert(
      fc.property(odd, objectText, (text, object) => {
        const fields = {
          action: text,
          resource_type: text,
          resource_id: text,
          user_id: text,
          email: text,
          description: text,
        };
        const targets = [{ type: text, id: text, name: text }];
        const entry = JSON.stringify({ ...fields, targets, event_id: text, user_agent: text });
        const log = made(`${entry.slice(0, -1)},"metadata":${object}}`);
        for (const value of Object.values(log).filter((one) => one !== null)) {
          expect(value.isWellFormed() && !value.includes("\0")).toBe(true);
        }
        for (const json of [log.metadata, log.targets, log.masked_fields ?? "[]"]) {
          expect(json?.replaceAll("\\\\", "")).not.toMatch(/\\u0000|\\ud[89a-f]/i);
          expect(() => void JSON.parse(json ?? "")).not.toThrow();
        }
      }),
    );
  });
});

describe("isTooLarge", () => {
  test("counts bytes, not characters", () => {
    expect(isTooLarge("x".repeat(256 * 1024))).toBe(false);
    expect(isTooLarge("x".repeat(256 * 1024 + 1))).toBe(true);
    expect(isTooLarge("é".repeat(128 * 1024))).toBe(false);
    expect(isTooLarge(`${"é".repeat(128 * 1024)}x`)).toBe(true);
  });
});
