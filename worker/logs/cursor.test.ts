import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { LogFilter, Order } from "../../events/log-filter.ts";
import { decodeCursor, encodeCursor, listFingerprint } from "./cursor.ts";
import { noFilter as filter } from "../../test/no-filter.ts";

const scope = { tenantId: "acme", userId: null };
const fingerprint = listFingerprint(scope, filter, "desc");
const id = "0198c0de-0000-7000-8000-000000000000";
const cursor = encodeCursor({ after: id, total: null }, fingerprint);

const encoded = (content: unknown) => btoa(JSON.stringify(content));
const contentOf = (text: string) =>
  JSON.parse(atob(text.replaceAll("-", "+").replaceAll("_", "/"))) as unknown[];

describe("a cursor", () => {
  test("is read as it was made, and needs no escape in a URL", () => {
    const total = fc.option(fc.record({ count: fc.nat(), isLowerBound: fc.boolean() }));
    fc.assert(
      fc.property(fc.uuid(), total, (after, sum) => {
        const text = encodeCursor({ after, total: sum }, fingerprint);
        expect(text).toMatch(/^[\w-]+$/);
        expect(decodeCursor(text, fingerprint)).toEqual({ after, total: sum });
      }),
    );
  });

  test("of other filters is refused as such", () => {
    expect(decodeCursor(cursor, `${fingerprint}x`)).toMatch(/other filters/);
  });

  test("of which a character was changed is refused, or is a position under the same filters", () => {
    const character = fc.constantFrom(..."ABCZabcz0189-_=+/ .");
    fc.assert(
      fc.property(fc.nat(cursor.length - 1), character, (at, changed) => {
        const text = cursor.slice(0, at) + changed + cursor.slice(at + 1);
        const result = decodeCursor(text, fingerprint);
        if (typeof result === "string") return;
        expect(result.after).toMatch(/^[\da-f-]{36}$/i);
        expect(contentOf(text)[4]).toBe(fingerprint);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    "",
    "x",
    "null",
    "====",
    "%00",
    "é日",
    cursor.slice(1),
    cursor.slice(0, -2),
    encoded(null),
    encoded({}),
    encoded([]),
    encoded([1, id, -1, 0]),
    encoded([2, id, -1, 0, fingerprint]),
    encoded([1, "x", -1, 0, fingerprint]),
    encoded([1, `${id}' or 1=1`, -1, 0, fingerprint]),
    encoded([1, null, -1, 0, fingerprint]),
    encoded([1, id, -2, 0, fingerprint]),
    encoded([1, id, 1.5, 0, fingerprint]),
    encoded([1, id, "1", 0, fingerprint]),
    encoded([1, id, 1, true, fingerprint]),
    encoded([1, id, 1, 2, fingerprint]),
    encoded([1, id, 1, 0, null]),
    encoded([1, id, 1, 0, fingerprint, "more"]),
    encoded([1, id, Number.MAX_VALUE, 0, fingerprint]),
    btoa(`${"[".repeat(50_000)}${"]".repeat(50_000)}`),
  ])("that is none is refused with a sentence: %j", (text) => {
    expect(decodeCursor(text, fingerprint)).toMatch(/^is not a cursor/);
  });

  test("of any text never throws", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: "binary" }),
          fc.base64String(),
          fc.json().map((json) => encodeURIComponent(json)),
        ),
        (text) => {
          expect(typeof decodeCursor(text, fingerprint)).toBe("string");
        },
      ),
    );
  });
});

describe("a list's fingerprint", () => {
  const others: [string, { tenantId: string; userId: string | null }, Partial<LogFilter>, Order][] =
    [
      ["tenant", { ...scope, tenantId: "globex" }, {}, "desc"],
      ["user", { ...scope, userId: "alice" }, {}, "desc"],
      ["order", scope, {}, "asc"],
      ["exact filter", scope, { exact: { user_id: ["u_7"] } }, "desc"],
      ["action", scope, { action: ["a"] }, "desc"],
      ["target", scope, { target_id: ["a"] }, "desc"],
      ["address", scope, { ip_address: ["a"] }, "desc"],
      ["email", scope, { email_hash: ["a"] }, "desc"],
      ["metadata", scope, { metadata: [{ path: "a", value: "b" }] }, "desc"],
      ["beginning", scope, { from: 1 }, "desc"],
      ["end", scope, { to: 1 }, "desc"],
      ["beginning of occurrence", scope, { occurred_from: 1 }, "desc"],
      ["end of occurrence", scope, { occurred_to: 1 }, "desc"],
      [
        "search",
        scope,
        { search: [{ kind: "phrase", text: "a", words: ["a"], not: false }] },
        "desc",
      ],
    ];

  test.each(others)("changes with the %s", (_, otherScope, changes, order) => {
    expect(listFingerprint(otherScope, { ...filter, ...changes }, order)).not.toBe(fingerprint);
  });

  test("is different for all of these", () => {
    const all = others.map(([, otherScope, changes, order]) =>
      listFingerprint(otherScope, { ...filter, ...changes }, order),
    );
    expect(new Set(all).size).toBe(others.length);
  });

  test("is the same for the same list", () => {
    expect(listFingerprint({ ...scope }, structuredClone(filter), "desc")).toBe(fingerprint);
    expect(fingerprint).toMatch(/^[\w-]{16}$/);
  });
});
