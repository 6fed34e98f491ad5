import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { asciiJson, indexMessagesFor, parseIndexMessage } from "./messages.ts";

const id = "0198c0de-0000-7000-8000-000000000000";
const message = { v: 1, type: "index", tenant_id: "acme", log_ids: [id], request_id: "req" };
const anyTenant = fc.string({ unit: "binary", minLength: 1, maxLength: 255 });
const bodyFor = (tenant: string, logIds = [id]) =>
  indexMessagesFor(tenant, logIds, "req")[0]?.body ?? "";

describe("messages for the indexer", () => {
  test("are read as they were made, for every tenant's id", () => {
    fc.assert(
      fc.property(anyTenant, (tenant) => {
        expect(parseIndexMessage(bodyFor(tenant))).toEqual({ ...message, tenant_id: tenant });
      }),
    );
  });

  test("hold only characters that SQS takes, and have a group that it takes", () => {
    fc.assert(
      fc.property(anyTenant, (tenant) => {
        const [made] = indexMessagesFor(tenant, [id], "req");
        expect(made?.body).toMatch(/^[\x20-\x7E]+$/);
        // As the API reference of SendMessage has it.
        expect(made?.groupId).toMatch(/^[a-zA-Z0-9!"#$%&'()*+,\-./:;<=>?@[\\\]^_`{|}~]{1,128}$/);
      }),
    );
  });

  test("have a group for each tenant", () => {
    const tenants = [
      "acme",
      "Acme",
      "acme\n",
      "a b",
      "é",
      "日本",
      "x".repeat(128),
      "x".repeat(129),
      "x".repeat(130),
    ];
    const groups = tenants.map((tenant) => indexMessagesFor(tenant, [id], "req")[0]?.groupId);
    expect(new Set(groups).size).toBe(tenants.length);
    expect(groups[0]).toBe("acme");
    expect(groups.every((group) => group !== undefined && group.length <= 128)).toBe(true);
    expect(groups).toEqual(
      tenants.map((tenant) => indexMessagesFor(tenant, [id], "req")[0]?.groupId),
    );
  });

  test("hold all ids in their order, at most 100 each", () => {
    fc.assert(
      fc.property(fc.array(fc.uuid({ version: 7 }), { maxLength: 250, size: "max" }), (ids) => {
        const sent = indexMessagesFor("acme", ids, "req").map(
          ({ body }) => parseIndexMessage(body)?.log_ids ?? [],
        );
        expect(sent.flat()).toEqual(ids);
        expect(sent).toHaveLength(Math.ceil(ids.length / 100));
        expect(sent.every((some) => some.length <= 100)).toBe(true);
      }),
      { numRuns: 20 },
    );
  });
});

describe("parseIndexMessage", () => {
  test.each([
    "",
    "nonsense",
    "null",
    "[]",
    "{}",
    JSON.stringify({ ...message, v: 2 }),
    JSON.stringify({ ...message, type: "export" }),
    JSON.stringify({ ...message, tenant_id: "" }),
    JSON.stringify({ ...message, tenant_id: 7 }),
    JSON.stringify({ ...message, log_ids: [] }),
    JSON.stringify({ ...message, log_ids: ["x"] }),
    JSON.stringify({ ...message, log_ids: Array.from({ length: 101 }, () => id) }),
    JSON.stringify({ ...message, request_id: "x".repeat(129) }),
    JSON.stringify({ ...message, more: 1 }),
    JSON.stringify({ ...message, request_id: undefined }),
  ])("is undefined for %s", (body) => {
    expect(parseIndexMessage(body)).toBeUndefined();
  });

  test("never throws", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (body) => {
        expect(parseIndexMessage(body)).toBeUndefined();
      }),
    );
  });
});

test("asciiJson is the same JSON, in ASCII", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ unit: "binary" }), fc.string({ unit: "binary" })),
      (value) => {
        const text = asciiJson(value);
        expect(text).toMatch(/^[\x20-\x7E]+$/);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      },
    ),
  );
  expect(asciiJson({ a: "é😀\u2028\u007F" })).toBe(
    String.raw`{"a":"\u00e9\ud83d\ude00\u2028\u007f"}`,
  );
});
