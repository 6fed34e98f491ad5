import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { requireSection } from "../../platform/config.ts";
import { indexDocument } from "../../search/index-logs.ts";
import { readAlias } from "../../search/index-template.ts";
import type { Check } from "./check.ts";
import type { Follower } from "./readers.ts";
import type { StoredLog } from "./stored-logs.ts";
import type { World } from "./world.ts";

type Document = { id: string; index: string; source: Record<string, unknown> };

/** What is searchable, against what is in Postgres. */
export async function checkIndexed(
  world: World,
  stored: readonly StoredLog[],
  poisoned: ReadonlySet<string>,
  followers: readonly Follower[],
): Promise<Check[]> {
  const documents = await readDocuments(world);
  const byId = Map.groupBy(documents, ({ id }) => id);
  const healthy = stored.filter(({ id }) => !poisoned.has(id));
  const once: string[] = [];
  const equal: string[] = [];
  for (const log of healthy) {
    const [document, ...more] = byId.get(log.id) ?? [];
    if (!document) once.push(`log ${log.id} (${log.resource_id}) is not searchable`);
    else if (more.length > 0) once.push(`log ${log.id} is there ${more.length + 1} times`);
    else {
      const different = differenceOf(log, document);
      if (different) equal.push(`log ${log.id}: ${different} differs in the index`);
    }
  }
  const known = new Set(healthy.map(({ id }) => id));
  for (const { id } of documents) if (!known.has(id)) once.push(`document ${id} is of no log`);

  const followed: string[] = [];
  for (const { tenant, seen } of followers) {
    const own = stored.filter((log) => log.tenant_id === tenant);
    for (const { id } of own)
      // Postgres, when it stands in for the search, finds what the index refused.
      if (!seen.has(id) && !poisoned.has(id))
        followed.push(`a follower of ${tenant} never got log ${id}`);
    const ids = new Set(own.map(({ id }) => id));
    for (const id of seen)
      if (!ids.has(id)) followed.push(`a follower of ${tenant} got ${id}, which is not stored`);
  }
  return [
    { name: "every log is in OpenSearch exactly once", checked: healthy.length, broken: once },
    { name: "the index has what Postgres has", checked: healthy.length, broken: equal },
    {
      name: "ascending readers got every log exactly once",
      checked: followers.reduce((sum, { seen }) => sum + seen.size, 0),
      broken: followed,
    },
  ];
}

/** Fields that searches need, and that are not kept a second time: only found by searching. */
const notInSource = new Set(["text", "metadata_pairs", "target_ids"]);

function differenceOf(log: StoredLog, { source }: Document): string | undefined {
  const expected: Record<string, unknown> = JSON.parse(indexDocument(log));
  const names = new Set([...Object.keys(expected), ...Object.keys(source)]);
  return [...names].find(
    (name) => !notInSource.has(name) && !isDeepStrictEqual(expected[name], source[name]),
  );
}

const pageSize = 1_000;
const hits = z.object({
  hits: z.object({
    hits: z.array(
      z.object({
        _id: z.string(),
        _index: z.string(),
        _source: z.record(z.string(), z.unknown()),
        sort: z.array(z.unknown()),
      }),
    ),
  }),
});

/**
 * Every document of the run's tenants, in whichever index. Nothing is refreshed for it: what left the
 * outbox has to be searchable.
 */
async function readDocuments({ direct, tenants }: World): Promise<Document[]> {
  const url = `${requireSection(direct, "search").node}/${readAlias}-*/_search`;
  const documents: Document[] = [];
  let after: unknown[] | undefined;
  for (;;) {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        size: pageSize,
        query: { terms: { tenant_id: tenants } },
        sort: [{ id: "asc" }, { _index: "asc" }],
        ...(after ? { search_after: after } : {}),
      }),
    });
    if (!response.ok) throw new Error(`OpenSearch answered with ${response.status}.`);
    const found = hits.parse(await response.json()).hits.hits;
    documents.push(
      ...found.map(({ _id: id, _index: index, _source: source }) => ({ id, index, source })),
    );
    after = found.at(-1)?.sort;
    if (found.length < pageSize) return documents;
  }
}
