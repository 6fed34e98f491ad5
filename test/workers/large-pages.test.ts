import { sql } from "drizzle-orm";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { maxPageBytes } from "../../events/log-filter.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { connectSearch } from "../../search/client.ts";
import { AnswerTooLarge } from "../../search/fetch-connection.ts";
import { readAlias } from "../../search/index-template.ts";
import { callerOf, expectProblem, listed, newTenant } from "../journeys/api.ts";
import { rowsOf } from "./database.ts";
import { nowhere, searchMissing, workerEnv, workers, workersWith } from "./tools.ts";

const tenant = newTenant();
const search = () => requireSection(parseConfig(workerEnv), "search");
/** Of a log as JSON; three fifths of it are quotes, each of which takes another byte inside a text. */
const logBytes = 200_000;
const metadata = { values: Array.from({ length: logBytes / 10 }, () => '"""') };
let ids: string[] = [];

beforeAll(async () => {
  const writer = callerOf(workers, { tenant_id: tenant });
  for (let n = 0; n < 3; n++)
    ids.push(...(await writer.createAll(Array.from({ length: 10 }, () => ({ metadata })))));
  if (searchMissing === "") await writer.settled();
}, 60_000);

// Later tests that go through all logs would go through these.
afterAll(async () => {
  await rowsOf(sql`delete from audit_logs where tenant_id = ${tenant}`);
  ids = [];
  if (searchMissing !== "") return;
  await connectSearch(search(), 10_000).deleteByQuery({
    index: readAlias,
    routing: tenant,
    refresh: true,
    body: { query: { term: { tenant_id: tenant } } },
  });
});

beforeEach(() => {
  vi.spyOn(console, "warn").mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

/**
 * Counts what is read of each answer to the Worker.
 *
 * @param change of an answer's headers
 */
function countRead(change: (headers: Headers) => void = () => {}) {
  const real = globalThis.fetch;
  const read: number[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const answer = await real(input, init);
    if (answer.body === null) return answer;
    const at = read.push(0) - 1;
    const counter = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        read[at] = (read[at] ?? 0) + chunk.byteLength;
        controller.enqueue(chunk);
      },
    });
    const headers = new Headers(answer.headers);
    change(headers);
    return new Response(answer.body.pipeThrough(counter), { status: answer.status, headers });
  });
  return read;
}

describe.each([
  { source: "opensearch", target: workersWith({}), skipped: searchMissing },
  { source: "postgres", target: workersWith({ OPENSEARCH_HOST: nowhere }), skipped: "" },
])("a page of large logs from $source", ({ source, target, skipped }) => {
  const caller = callerOf(target, { tenant_id: tenant });

  test.skipIf(skipped !== "").each(["desc", "asc"])(
    "has fewer than were asked for, and the cursor loses and repeats none: %s",
    async (order) => {
      const read = countRead();
      const found: string[] = [];
      const sizes: number[] = [];
      for (let cursor: string | null = ""; cursor !== null;) {
        const query = { order, page_size: "100", ...(cursor ? { cursor } : {}) };
        const answer = await caller.get(`/api/v1/logs?${new URLSearchParams(query)}`);
        expect(answer.status, answer.text).toBe(200);
        const page = listed.parse(answer.body);
        expect(page).toMatchObject({ source, total: 30, page_size: 100 });
        expect(answer.text.length).toBeLessThan(maxPageBytes + 2 * logBytes);
        found.push(...page.items.map((item) => item.id));
        sizes.push(page.items.length);
        // Ascending pages go on for ever.
        cursor = page.items.length === 0 ? null : page.next_cursor;
      }
      expect(found).toEqual(order === "desc" ? ids.toReversed() : ids);
      expect(sizes[0]).toBeGreaterThan(1);
      expect(sizes[0]).toBeLessThan(30);
      expect(Math.max(...read)).toBeLessThan(1.6 * maxPageBytes);
    },
  );

  test.skipIf(skipped !== "").each(["desc", "asc"])(
    "is refused where it is numbered, and says which fits: %s",
    async (order) => {
      const path = `/api/v1/logs?order=${order}&page=1`;
      const answer = await caller.get(`${path}&page_size=100`);
      expect(expectProblem(answer, 422, "validation_failed")).toEqual(["page_size"]);
      const fitting = Number(/ask for pages of (\d+)/.exec(answer.text)?.[1]);
      const whole = await caller.list({ order, page: "2", page_size: String(fitting) });
      const all = order === "desc" ? ids.toReversed() : ids;
      expect(whole.items.map((item) => item.id)).toEqual(all.slice(fitting, 2 * fitting));
    },
  );

  test.skipIf(skipped !== "")("is whole where it fits", async () => {
    const page = await caller.list({ page: "1", page_size: "10" });
    expect(page.items).toHaveLength(10);
    expect(page.source).toBe(source);
  });
});

describe.skipIf(searchMissing !== "")(`an answer of OpenSearch (skipped: ${searchMissing})`, () => {
  const ask = (size: number, maxBytes?: number) =>
    connectSearch(search(), 5_000, maxBytes).search({
      index: readAlias,
      routing: tenant,
      body: { size, query: { term: { tenant_id: tenant } } },
    });

  test.each([
    ["that says how large it is", () => {}, 0],
    ["that does not say it", (headers: Headers) => headers.delete("Content-Length"), 2_000_000],
  ])("%s is given up at the bound", async (_, change, most) => {
    const read = countRead(change);
    await expect(ask(30, 1_000_000)).rejects.toThrow(AnswerTooLarge);
    expect(Math.max(...read)).toBeLessThanOrEqual(most);
    // The client is as it was.
    expect((await ask(1, 1_000_000)).body.hits.hits).toHaveLength(1);
    expect((await ask(30)).body.hits.hits).toHaveLength(30);
  });
});
