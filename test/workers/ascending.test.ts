import { beforeAll, describe, expect, test } from "vitest";
import type { PageRequest } from "../../events/log-filter.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { connectSearch } from "../../search/client.ts";
import { indexLogs, refreshIndices, type LogToIndex } from "../../search/index-logs.ts";
import { readAlias } from "../../search/index-template.ts";
import { searchLogs } from "../../search/search-logs.ts";
import { newTenant } from "../journeys/api.ts";
import { searchMissing, workerEnv } from "./tools.ts";
import { noFilter } from "../no-filter.ts";

const month = new Date();
const dayMs = 24 * 3_600_000;
/** The beginning of last year: its months have no other logs. */
const begin = Date.UTC(month.getUTCFullYear() - 1, 0, 1);
const scope = { tenantId: newTenant(), userId: null };

/** Logs with gaps from a millisecond to a third of a year between them. */
const times = [0, 1, 2, 3_599_999, 3_600_000, dayMs, dayMs + 1, 9 * dayMs, 120 * dayMs].map(
  (offset) => begin + offset,
);
const idAt = (ms: number) =>
  `${ms
    .toString(16)
    .padStart(12, "0")
    .replace(/^(.{8})/, "$1-")}-7000-8000-000000000000`;

function logAt(ms: number): LogToIndex {
  const at = new Date(ms).toISOString();
  const empty = {
    outcome: null,
    actor_name: null,
    user_id: null,
    email: null,
    email_hash: null,
    session_id: null,
  };
  const more = {
    request_id: null,
    ip_address: null,
    user_agent: null,
    resource_name: null,
    description: null,
  };
  const json = {
    metadata: "{}",
    before_state: "{}",
    after_state: "{}",
    targets: "[]",
    truncated_fields: null,
    masked_fields: null,
  };
  const known = {
    action: "a",
    severity: "INFO",
    actor_type: "user",
    resource_type: "r",
    resource_id: "1",
  } as const;
  return {
    ...empty,
    ...more,
    ...json,
    ...known,
    id: idAt(ms),
    tenant_id: scope.tenantId,
    created_at: at,
    occurred_at: at,
    recorded_by: "t",
    event_id: null,
    rev: 1,
    reindexed: false,
  };
}

describe.skipIf(searchMissing !== "")(`ascending pages (skipped: ${searchMissing})`, () => {
  const client = connectSearch(requireSection(parseConfig(workerEnv), "search"), 10_000);
  const page: PageRequest = {
    order: "asc",
    size: 4,
    after: null,
    skip: 0,
    notBefore: begin,
    before: begin + 200 * dayMs,
  };
  const idsOf = async (changes: Partial<PageRequest>, filter = noFilter) => {
    const found = await searchLogs(client, scope, filter, { ...page, ...changes });
    return { ...found, logs: found.logs.map((log) => times.indexOf(Date.parse(log.created_at))) };
  };

  beforeAll(async () => {
    const outcomes = await indexLogs(client, times.map(logAt));
    if (outcomes.some((outcome) => outcome.status !== "indexed"))
      throw new Error("not all were indexed");
    await refreshIndices(
      client,
      new Set(
        times.map((ms) => `audit-logs-${new Date(ms).toISOString().slice(0, 7).replace("-", ".")}`),
      ),
    );
  });

  test("come in order over any gap, with the total on the first", async () => {
    expect(await idsOf({})).toMatchObject({
      logs: [0, 1, 2, 3],
      hasMore: true,
      total: { count: 9 },
    });
    expect(await idsOf({ after: idAt(times[3] ?? 0) })).toMatchObject({
      logs: [4, 5, 6, 7],
      hasMore: true,
      total: null,
    });
    expect(await idsOf({ after: idAt(times[7] ?? 0) })).toMatchObject({
      logs: [8],
      hasMore: false,
    });
    expect(await idsOf({ after: idAt(times[8] ?? 0) })).toMatchObject({ logs: [], hasMore: false });
  });

  test("end before the mark, and begin at it where nothing is older", async () => {
    expect(await idsOf({ before: times[2] ?? 0 })).toMatchObject({
      logs: [0, 1],
      hasMore: false,
      total: { count: 2 },
    });
    expect(await idsOf({ before: begin })).toMatchObject({
      logs: [],
      hasMore: false,
      total: { count: 0 },
    });
    expect((await idsOf({ notBefore: 0, size: 20 })).logs).toHaveLength(9);
  });

  test("begin where the filter does", async () => {
    expect((await idsOf({}, { ...noFilter, from: times[5] ?? 0, to: times[8] ?? 0 })).logs).toEqual(
      [5, 6, 7],
    );
  });

  test("are cut where the logs of several steps are only together too large", async () => {
    const tenantId = newTenant();
    const metadata = JSON.stringify({ text: "word ".repeat(300_000) });
    const large = [0, 4, 7, 8].map((at) => ({
      ...logAt(times[at] ?? 0),
      tenant_id: tenantId,
      metadata,
    }));
    await indexLogs(client, large);
    await client.indices.refresh({ index: readAlias });
    const found = await searchLogs(client, { tenantId, userId: null }, noFilter, page);
    expect(found).toMatchObject({ hasMore: true, isCut: true, total: { count: 4 } });
    expect(found.logs.map((log) => log.id)).toEqual([large[0]?.id]);
    await client.deleteByQuery({
      index: readAlias,
      routing: tenantId,
      refresh: true,
      body: { query: { term: { tenant_id: tenantId } } },
    });
  });
});
