import { sql } from "drizzle-orm";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { ReadAhead } from "../../consumers/exporter/read-ahead.ts";
import type { Database } from "../../db/client.ts";
import type { ExportPage, ExportRange } from "../../db/export-pages.ts";
import { maxPageBytes } from "../../db/export-pieces.ts";
import { firstIdAt } from "../../events/ids.ts";
import { newTenant } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { noFilter } from "../no-filter.ts";

const many = 40_000;
const rareEvery = 8_000;
const tenantId = newTenant();
const largeTenantId = newTenant();

const range: ExportRange = {
  tenantId,
  filter: noFilter,
  format: "csv",
  columns: ["id", "action"],
  after: firstIdAt(0),
  upper: firstIdAt(Number.MAX_SAFE_INTEGER),
};
const rare: ExportRange = { ...range, filter: { ...range.filter, action: ["rare"] } };

/** A log a millisecond from the beginning of this month, whose partition is there. */
const fill = (tenant: string, count: number, description: string) =>
  rowsOf(sql`
    insert into audit_logs (
      id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type,
      resource_type, resource_id, description
    )
    select audit_log_id(at, 0), ${tenant}, at, at, 'test',
      case when n % ${rareEvery}::integer = 0 then 'rare' else 'usual' end, 'INFO', 'user', 'r', '1', ${description}
    from (
      select n, date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'
        + make_interval(secs => n / 1000.0) as at
      from generate_series(1, ${count}::integer) as n
    ) as moments`);

beforeAll(async () => {
  await fill(tenantId, many, "");
  await fill(largeTenantId, 200, "0123456789abcdef".repeat(8 * 1024));
});

// What works for all tenants would go through them, and bring them into the index, for the tests after these.
afterAll(() =>
  rowsOf(sql`delete from audit_logs where tenant_id in (${tenantId}, ${largeTenantId})`),
);

async function pagesOf(db: Database, wanted: ExportRange): Promise<ExportPage[]> {
  const source = new ReadAhead(db, wanted);
  const pages: ExportPage[] = [];
  for (let after = wanted.after; ;) {
    const page = await source.page(after);
    pages.push(page);
    if (page.isLast) return pages;
    if (page.after <= after) throw new Error("A page does not go on.");
    after = page.after;
  }
}

async function idsOf(wanted: ExportRange): Promise<unknown[]> {
  const isRare = wanted.filter.action.length > 0;
  const rows = await rowsOf(sql`
    select id from audit_logs
    where tenant_id = ${wanted.tenantId} and (not ${isRare} or action = 'rare') order by id`);
  return rows.map((row) => row["id"]);
}

/** The ids in the first column of the lines. */
const found = (pages: ExportPage[]) =>
  pages
    .flatMap(({ chunks }) => chunks.map(({ lines }) => new TextDecoder().decode(lines)))
    .flatMap((lines) => lines.split("\r\n").slice(0, -1))
    .map((line) => line.slice(0, 36));

/** Breaks off some of the statements for rows, as the database's statement timeout does. */
function breakOff(isBrokenOff: (nth: number) => boolean): void {
  const sent = globalThis.fetch;
  let asked = 0;
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const isForRows = String(init?.body).includes(") as chunk");
    if (!isForRows || !isBrokenOff(++asked)) return sent(input, init);
    const message = "canceling statement due to statement timeout";
    return Response.json({ message, code: "57014" }, { status: 400 });
  });
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe("reading an export's rows ahead", () => {
  test("yields every log once and in order, in pages that grow", async () => {
    const pages = await pagesOf(ownerOf(), range);
    expect(found(pages)).toEqual(await idsOf(range));
    expect(pages.length).toBeLessThan(20);
  });

  test("looks at more and more logs a page where the filter selects few of them", async () => {
    const pages = await pagesOf(ownerOf(), rare);
    expect(found(pages)).toEqual(await idsOf(rare));
    expect(found(pages)).toHaveLength(many / rareEvery);
    // Of 500 logs each, they would be 80.
    expect(pages.length).toBeLessThan(16);
  });

  test("cuts pages of large rows by their bytes", async () => {
    const wanted: ExportRange = {
      ...range,
      tenantId: largeTenantId,
      columns: ["id", "description"],
    };
    const pages = await pagesOf(ownerOf(), wanted);
    expect(found(pages)).toEqual(await idsOf(wanted));
    for (const { chunks } of pages) {
      const bytes = chunks.slice(0, -1).reduce((sum, { lines }) => sum + lines.length, 0);
      expect(bytes).toBeLessThan(maxPageBytes);
    }
    expect(pages.length).toBeLessThan(80);
  });

  test("tries smaller pages where the database breaks one off, and loses nothing", async () => {
    const sizes: number[] = [];
    breakOff((nth) => nth === 3 || nth === 4 || nth === 9);
    const pages = await pagesOf(ownerOf(), range);
    for (const { chunks } of pages) sizes.push(chunks.reduce((sum, { rows }) => sum + rows, 0));
    expect(found(pages)).toEqual(await idsOf(range));
    expect(Math.min(...sizes.slice(1, -1))).toBeLessThan(500);
  });

  test("gives up where not even a small page comes in time", async () => {
    let asked = 0;
    breakOff(() => ++asked > 0);
    await expect(pagesOf(ownerOf(), range)).rejects.toThrow("The database does not answer");
    expect(asked).toBeLessThan(20);
  });
});
