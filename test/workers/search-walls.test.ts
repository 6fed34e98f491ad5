import { afterEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { firstIdAt } from "../../events/ids.ts";
import type { LogFilter, PageRequest } from "../../events/log-filter.ts";
import { requireSection, parseConfig } from "../../platform/config.ts";
import { connectSearch } from "../../search/client.ts";
import { countLogs } from "../../search/count-logs.ts";
import { countFound, findIds } from "../../search/export-ids.ts";
import { searchLogs } from "../../search/search-logs.ts";
import { newTenant } from "../journeys/api.ts";
import { searchMissing, workerEnv } from "./tools.ts";
import { noFilter } from "../no-filter.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

const tenant = `${newTenant()} ?&routing=other`;
const now = Date.now();
const filter: LogFilter = {
  ...noFilter,
  // What a caller asks for comes beside the tenant, never in its place.
  exact: { user_id: ["u_2"], resource_id: ["x"] },
  action: ["document.*"],
  metadata: [{ path: "tenant_id", value: "other" }],
  from: now - 86_400_000,
};
const page: PageRequest = {
  order: "desc",
  size: 10,
  after: null,
  skip: 0,
  notBefore: 0,
  before: null,
};
const asked = z.object({
  query: z.object({ bool: z.object({ filter: z.array(z.unknown()) }) }),
});

/** By the function's name: each way to ask the index for what a tenant has. */
const searches = (client: ReturnType<typeof connectSearch>, userId: string | null) => {
  const scope = { tenantId: tenant, userId };
  const range = { scope, filter, after: firstIdAt(0), upper: firstIdAt(now) };
  return {
    searchLogs: () => searchLogs(client, scope, filter, page),
    "searchLogs after a cursor": () =>
      searchLogs(client, scope, filter, { ...page, after: firstIdAt(now) }),
    "searchLogs of a numbered page": () => searchLogs(client, scope, filter, { ...page, skip: 20 }),
    "searchLogs in steps": () =>
      searchLogs(client, scope, filter, { ...page, order: "asc", before: now }),
    countLogs: () => countLogs(client, scope, filter),
    findIds: () => findIds(client, range, 10),
    countFound: () => countFound(client, range),
  };
};
const names = [
  "searchLogs",
  "searchLogs after a cursor",
  "searchLogs of a numbered page",
  "searchLogs in steps",
  "countLogs",
  "findIds",
  "countFound",
] as const;

describe.skipIf(searchMissing !== "")(`the index (skipped: ${searchMissing})`, () => {
  const client = () => connectSearch(requireSection(parseConfig(workerEnv), "search"), 5_000);

  describe.each([[null], ["u_1"]])("asked for the user %j", (userId) => {
    test.each(names)("by %s is told the tenant and its shard in every request", async (name) => {
      const sent: Request[] = [];
      const real = globalThis.fetch;
      vi.spyOn(globalThis, "fetch").mockImplementation((to, init) => {
        const request = new Request(to, init);
        if (request.url.startsWith(workerEnv["OPENSEARCH_HOST"] ?? "")) sent.push(request.clone());
        return real(request);
      });
      await searches(client(), userId)[name]();
      expect(sent.length).toBeGreaterThan(0);
      for (const request of sent) {
        const url = new URL(request.url);
        expect(url.pathname).toBe("/audit-logs/_search");
        expect(url.searchParams.getAll("routing")).toEqual([tenant]);
        const { query } = asked.parse(await request.json());
        const walls = [
          { term: { tenant_id: tenant } },
          ...(userId === null ? [] : [{ terms: { user_id: [userId] } }]),
        ];
        expect(query.bool.filter.slice(0, walls.length)).toEqual(walls);
      }
    });
  });
});

test("no other file asks the index, but for maintenance and the indexer, which work for all tenants", () => {
  const files = import.meta.glob("../../{search,worker,consumers,db}/**/*.ts", {
    query: "?raw",
    import: "default",
    eager: true,
  });
  const searching = Object.entries(files)
    .filter(([, text]) => text.includes('"@opensearch-project/opensearch"'))
    .filter(([, text]) =>
      /\b(?:client|search)\.(?:search|msearch|count|scroll)\(|\.transport\b/.test(text),
    )
    .map(([file]) => file.replace("../../", ""));
  expect(searching.toSorted()).toEqual([
    "search/compare-logs.ts",
    "search/index-logs.ts",
    "search/search-logs.ts",
  ]);
});
