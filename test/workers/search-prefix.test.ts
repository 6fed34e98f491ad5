import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { parseSearch } from "../../events/search-terms.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { connectSearch } from "../../search/client.ts";
import { countLogs } from "../../search/count-logs.ts";
import { readAlias, writeAlias } from "../../search/index-template.ts";
import { NotForIndex } from "../../search/not-for-index.ts";
import { knownSigns } from "../../search/prefix-clause.ts";
import { callerOf, newTenant } from "../journeys/api.ts";
import { noFilter } from "../no-filter.ts";
import { exported } from "./export-calls.ts";
import { searchMissing, workerEnv, workersWith } from "./tools.ts";

const numbered = (word: string, count: number) =>
  Array.from({ length: count }, (_, n) => `${word}${String(n).padStart(5, "0")}`).join(" ");

const stats = z.object({ source: z.string(), data: z.object({ total: z.number() }) });

describe.skipIf(searchMissing !== "")(`a prefix (skipped: ${searchMissing})`, () => {
  const target = workersWith({ LOG_LEVEL: "WARNING" });
  const caller = callerOf(target, { tenant_id: newTenant() });
  const client = connectSearch(requireSection(parseConfig(workerEnv), "search"), 10_000);

  beforeAll(async () => {
    const other = callerOf(target, { tenant_id: newTenant() });
    // More words than the index would expand a prefix to, all before those that are looked for.
    await other.create({
      metadata: {
        short: numbered("d", 1_200),
        long: numbered("averylongbeginningofaword", 300),
        greek: numbered("δ", 300),
      },
    });
    await caller.createAll([
      { resource_id: "1", description: "a report.Deleted by hand" },
      { resource_id: "2", description: "a report was deleted" },
      { resource_id: "3", description: "report.déleted", metadata: { kind: "draft" } },
      { resource_id: "4", description: "note.averylongbeginningofawordthatends" },
      { resource_id: "5", description: "σημείωση.Διαγραφή" },
      { resource_id: "6", description: "記録.日本語 サーバabc" },
      { resource_id: "7", description: "می\u200Cخواهم" },
    ]);
    await other.settled();
    await caller.settled();
  }, 60_000);
  afterEach(() => vi.restoreAllMocks());

  /** What lists, stats and exports find for one search: the ids of all three, and where they come from. */
  async function found(search: string) {
    const list = await caller.list({ search, order: "asc", resource_type: "document" });
    const query = new URLSearchParams({ search, resource_type: "document" });
    const counted = stats.parse((await caller.get(`/api/v1/logs/stats?${query}`)).body);
    const filters = { search, resource_type: "document" };
    const { text } = await exported(caller, { columns: ["resource_id"], filters });
    const listed = list.items.map((item) => item["resource_id"]).join("");
    expect(text.split("\r\n").slice(1, -1).join("")).toBe(listed);
    expect(counted).toMatchObject({ source: list.source, data: { total: listed.length } });
    return `${listed} ${list.source}`;
  }

  test.each([
    ["report.d*", "13 opensearch"],
    ["REPORT.Dé*", "13 opensearch"],
    ["report.d* -draft", "1 opensearch"],
    ["-report.d*", "24567 opensearch"],
    ["-report.d* -note.a*", "2567 opensearch"],
    ["del*", "123 opensearch"],
    ["σημείωση.δ*", "5 opensearch"],
    ["日*", "6 opensearch"],
    ["記録.日*", "6 opensearch"],
    ["-記録.日本*", "123457 opensearch"],
    ["サーバab*", "6 opensearch"],
    ["サー*", "6 opensearch"],
  ])("search=%s finds %j, however many words of other tenants begin so", async (search, ids) => {
    expect(await found(search)).toBe(ids);
  });

  test.each([
    // Longer than the beginnings that the index keeps, with too many words to look at each.
    ["note.averylongbeginningofaword*", "4 postgres"],
    ["-note.averylongbeginningofaword*", "123567 postgres"],
    // Here the index parts words in a way of its own.
    ["می\u200Cخو*", "7 postgres"],
  ])("search=%s finds %j: what the index cannot tell whole, Postgres does", async (search, ids) => {
    const lines: string[] = [];
    vi.spyOn(console, "warn").mockImplementation((line) => void lines.push(String(line)));
    expect(await found(search)).toBe(ids);
    for (let n = 0; n < 3; n++) await caller.list({ search });
    // No failure of the cluster: other searches still go there. And no line has what was searched for.
    expect(await found("report.d*")).toBe("13 opensearch");
    expect(lines.join("\n")).toContain("NotForIndex");
    expect(lines.join("\n")).not.toMatch(/averylong|search_breaker_opened|خو/);
  });

  test("is not answered in part by an index from before that keeps no beginnings of words", async () => {
    const index = `old-${crypto.randomUUID()}`;
    const tenant = newTenant();
    const scope = { tenantId: tenant, userId: null };
    const template = await client.indices.getIndexTemplate({ name: readAlias });
    const { settings, mappings } = z
      .object({
        settings: z.looseObject({}),
        mappings: z.looseObject({ properties: z.looseObject({ text: z.looseObject({}) }) }),
      })
      .parse(template.body.index_templates[0]?.index_template.template);
    const { index_prefixes: prefixes, ...text } = mappings.properties.text;
    expect(prefixes).toBeDefined();
    const properties = { ...mappings.properties, text };
    await client.indices.create({
      index,
      body: { settings, mappings: { ...mappings, properties }, aliases: { [readAlias]: {} } },
    });
    try {
      const body = { tenant_id: tenant, text: [`report.${numbered("d", 150)}`, "report.gone"] };
      await client.index({ index, id: "1", routing: tenant, body, refresh: true });
      const count = async (search: string) => {
        const terms = parseSearch(search);
        if (typeof terms === "string") throw new Error(terms);
        return (await countLogs(client, scope, { ...noFilter, search: terms })).total;
      };
      expect(await count("report.g*")).toBe(1);
      expect(await count("-report.g*")).toBe(0);
      expect(await count("d*")).toBe(1);
      await expect(count("report.d*")).rejects.toThrow(NotForIndex);
      await expect(count("-report.d*")).rejects.toThrow(NotForIndex);
    } finally {
      await client.indices.delete({ index });
    }
  });

  const known = Array.from({ length: 0xd7a4 }, (_, code) => String.fromCharCode(code)).filter(
    (sign) => knownSigns.test(sign) && sign !== '"',
  );
  test.each(["ab_cd", "12_34", "カ_タ", "ら_ら", "글_글", "א_ا", "x.__.y"])(
    "the words of %s with any sign between that searches know are those of the index",
    async (form) => {
      const texts = known.map((sign) => form.replaceAll("_", () => sign));
      const index = writeAlias(new Date().toISOString().slice(0, 7).replace("-", "."));
      for (let at = 0; at < texts.length; at += 1_000) {
        const some = texts.slice(at, at + 1_000);
        const ofIndex = await client.indices.analyze({
          index,
          body: { analyzer: "words", text: some.join(" ends ") },
        });
        const words = (ofIndex.body.tokens ?? []).map(({ token }) => token).join(" ");
        const counts = words.split("ends").map((part) => part.split(" ").filter(Boolean).length);
        const ours = some.map((text) => {
          const terms = parseSearch(text);
          return typeof terms === "string" ? 0 : terms.flatMap((term) => term.words).length;
        });
        expect(some.filter((_, n) => counts[n] !== ours[n])).toEqual([]);
      }
    },
    30_000,
  );
});
