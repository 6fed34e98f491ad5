import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { LogFilter } from "../events/log-filter.ts";
import { parseSearch } from "../events/search-terms.ts";
import { buildQuery, metadataPair } from "./build-query.ts";
import { NotForIndex } from "./not-for-index.ts";
import { noFilter } from "../test/no-filter.ts";

const scope = { tenantId: "acme", userId: null };
const tenantClause = { term: { tenant_id: "acme" } };
/** The clauses that a filter adds to the tenant's. */
const clausesOf = (changes: Partial<LogFilter>) =>
  buildQuery(scope, { ...noFilter, ...changes }).bool.filter.slice(1);
const search = (text: string) => {
  const terms = parseSearch(text);
  if (typeof terms === "string") throw new Error(terms);
  return buildQuery(scope, { ...noFilter, search: terms }).bool;
};

describe("every query", () => {
  const text = fc.string({ unit: "binary" });
  const texts = fc.array(text, { maxLength: 3 });
  const anyFilter: fc.Arbitrary<LogFilter> = fc.record({
    exact: fc.record({ user_id: texts, severity: texts }),
    action: texts,
    target_id: texts,
    ip_address: texts,
    email_hash: texts,
    metadata: fc.array(fc.record({ path: text, value: text })),
    from: fc.option(fc.nat()),
    to: fc.option(fc.nat()),
    occurred_from: fc.option(fc.nat()),
    occurred_to: fc.option(fc.nat()),
    search: text
      .map((input) => parseSearch(input))
      .map((terms) => (typeof terms === "string" ? [] : terms)),
  });

  test("begins with the caller's tenant, and with the user where it may see only its own", () => {
    fc.assert(
      fc.property(anyFilter, (filter) => {
        expect(buildQuery(scope, filter).bool.filter[0]).toEqual(tenantClause);
        const { filter: clauses } = buildQuery({ tenantId: "acme", userId: "alice" }, filter).bool;
        expect(clauses.slice(0, 2)).toEqual([tenantClause, { terms: { user_id: ["alice"] } }]);
      }),
    );
  });

  test("has nothing but filters, so that nothing that was asked for can loosen them", () => {
    fc.assert(
      fc.property(anyFilter, (filter) => {
        const query = buildQuery(scope, filter);
        expect(Object.keys(query)).toEqual(["bool"]);
        expect(Object.keys(query.bool)).toEqual(["filter", "must_not"]);
      }),
    );
  });

  test("without a filter asks for the tenant only", () => {
    expect(buildQuery(scope, noFilter)).toEqual({ bool: { filter: [tenantClause], must_not: [] } });
  });
});

describe("a filter", () => {
  test("of exact values takes any of them", () => {
    const exact = { user_id: ["u_1", "u_2"], severity: ["INFO"], outcome: [] };
    expect(clausesOf({ exact })).toEqual([
      { terms: { user_id: ["u_1", "u_2"] } },
      { terms: { severity: ["INFO"] } },
    ]);
    expect(clausesOf({ target_id: ["f_1"], email_hash: ["h"] })).toEqual([
      { terms: { target_ids: ["f_1"] } },
      { terms: { email_hash: ["h"] } },
    ]);
  });

  test("of actions takes one that ends in * for a prefix, and only there", () => {
    expect(clausesOf({ action: ["document.*"] })).toEqual([{ prefix: { action: "document." } }]);
    expect(clausesOf({ action: ["*.deleted", "a"] })).toEqual([
      {
        bool: {
          should: [{ term: { action: "*.deleted" } }, { term: { action: "a" } }],
          minimum_should_match: 1,
        },
      },
    ]);
  });

  test("of addresses compares addresses and blocks by value, and the rest as text", () => {
    expect(clausesOf({ ip_address: ["203.0.113.0/24"] })).toEqual([
      { term: { "ip_address.ip": "203.0.113.0/24" } },
    ]);
    expect(clausesOf({ ip_address: ["203.0.113.999"] })).toEqual([
      { term: { ip_address: "203.0.113.999" } },
    ]);
  });

  test("of metadata takes any value of a path, and all paths", () => {
    const metadata = [
      { path: "a", value: "1" },
      { path: "b.c", value: "x" },
      { path: "a", value: "2" },
    ];
    expect(clausesOf({ metadata })).toEqual([
      { terms: { metadata_pairs: ["a=1", "a=2"] } },
      { terms: { metadata_pairs: ["b.c=x"] } },
    ]);
  });

  test("of times has the beginning in it and the end not", () => {
    expect(clausesOf({ from: 1, to: 3, occurred_to: 4 })).toEqual([
      { range: { created_at: { gte: 1, lt: 3, format: "epoch_millis" } } },
      { range: { occurred_at: { lt: 4, format: "epoch_millis" } } },
    ]);
    expect(clausesOf({ from: 0 })).toEqual([
      { range: { created_at: { gte: 0, format: "epoch_millis" } } },
    ]);
  });
});

describe("a search", () => {
  test("needs every term, and none of those with a minus", () => {
    expect(search('login "too many" -success').filter.slice(1)).toEqual([
      { match_phrase: { text: { query: "login" } } },
      { match_phrase: { text: { query: "too many" } } },
    ]);
    expect(search('login "too many" -success').must_not).toEqual([
      { match_phrase: { text: { query: "success" } } },
    ]);
  });

  test("takes one word with * for the beginning of a word, and several for the beginning of the last", () => {
    expect(search("log*").filter[1]).toEqual({
      match_bool_prefix: { text: { query: "log", operator: "and" } },
    });
    const beginning = (before: string, prefix: string) => ({
      intervals: {
        text: {
          all_of: {
            mode: "ordered",
            max_gaps: 0,
            intervals: [
              { match: { query: before, mode: "ordered", max_gaps: 0 } },
              { prefix: { prefix } },
            ],
          },
        },
      },
    });
    expect(search("user.log*").filter[1]).toEqual(beginning("user", "log"));
    expect(search("-a.user.log*").must_not).toEqual([beginning("a user", "log")]);
    // The index takes these signs for a word each: together they are a phrase.
    expect(search("日本*").filter[1]).toEqual(beginning("日", "本"));
  });

  test("refuses a beginning behind other words where it does not know the words of the index", () => {
    expect(() => search(`a.${"b".repeat(255)}*`)).not.toThrow();
    expect(() => search(`a.${"b".repeat(256)}*`)).toThrow(NotForIndex);
    expect(() => search("a.ไทย*")).toThrow(NotForIndex);
    expect(() => search("-re.po\u00ADrt*")).toThrow(NotForIndex);
    expect(() => search("ไทย*")).not.toThrow();
    expect(() => search("a.ไทย")).not.toThrow();
  });
});

describe("metadataPair", () => {
  test("is path=value where that is short, and a digest of it above", () => {
    expect(metadataPair("a.b", "x=y")).toBe("a.b=x=y");
    expect(metadataPair("a", "x".repeat(96))).toHaveLength(98);
    expect(metadataPair("a", "x".repeat(97))).toMatch(/^sha256:[\w-]{43}$/);
    expect(metadataPair("a", "\u0001".repeat(30))).toMatch(/^sha256:/);
    expect(metadataPair("a", "x".repeat(97))).not.toBe(metadataPair("b", "x".repeat(97)));
  });
});
