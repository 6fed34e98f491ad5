import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { duration, printRow } from "./demo-run.ts";
import type { DemoRun } from "./demo-run.ts";
import type { WebhookAuditLog } from "./webhook-to-audit-log.ts";

const LONGEST_WAIT_MS = 30_000;
const TARGET_MS = 5_000;
const POLL_MS = 200;

const page = z.object({
  items: z.array(z.object({ action: z.string(), resource_name: z.string().nullable() })),
  total: z.number(),
  source: z.enum(["opensearch", "postgres"]),
});
const bucket = z.object({ key: z.string(), doc_count: z.number() });
const stats = z.object({
  data: z.object({
    total: z.number(),
    action_counts: z.array(bucket),
    user_counts: z.array(bucket),
  }),
});

type Query = readonly (readonly [name: string, value: string])[];

/** Polls the list until every log of the run is in it. Where the stack has OpenSearch, an answer from Postgres does not count. */
export async function waitUntilSearchable(run: DemoRun): Promise<void> {
  const expected = run.entries.length;
  const hasOpenSearch = Boolean(run.stack.env?.["OPENSEARCH_HOST"]);
  const query: Query = [
    ["request_id", run.id],
    ["page_size", "1"],
  ];
  for (;;) {
    const { data } = await run.client.request("/logs", page, { query });
    const waited = performance.now() - run.stored.lastAnswerAt;
    const isIndexed = data.source === "opensearch" || !hasOpenSearch;
    if (isIndexed && data.total >= expected) {
      const late = waited > TARGET_MS ? ` (the target is ${duration(TARGET_MS)})` : "";
      printRow("all searchable", `${data.total} found by ${data.source}${late}`, waited);
      run.searchable = true;
      return;
    }
    if (waited > LONGEST_WAIT_MS) {
      const found = isIndexed
        ? `only ${data.total} of ${expected} are found by ${data.source}`
        : "OpenSearch does not answer the search, Postgres does";
      printRow("not all searchable", found, waited);
      run.problems.push(`after ${duration(waited)}: ${found}`);
      return;
    }
    await sleep(POLL_MS);
  }
}

/** `expected`: which entries must be found, where our own reading of the filter can say so. Full text depends on the analyzer: there, at least one. */
type Example = { query: Query; expected?: (entry: WebhookAuditLog) => boolean };

const examples: readonly Example[] = [
  { query: [["search", "spelling error"]] },
  { query: [["search", '"fixed right away"']] },
  { query: [["search", "octo*"]] },
  { query: [["search", "readme -spelling"]] },
  { query: [["action", "issues.*"]], expected: ({ action }) => action.startsWith("issues.") },
  { query: [["user_id", "Codertocat"]], expected: ({ user_id }) => user_id === "Codertocat" },
  { query: [["actor_type", "service"]], expected: ({ actor_type }) => actor_type === "service" },
  { query: [["outcome", "failure"]], expected: ({ outcome }) => outcome === "failure" },
  {
    query: [["target_id", "hacktocat"]],
    expected: ({ targets }) => targets.some(({ id }) => id === "hacktocat"),
  },
  {
    query: [["metadata.repository", "octo-org/octo-repo"]],
    expected: ({ metadata }) => metadata["repository"] === "octo-org/octo-repo",
  },
  {
    query: [
      ["action", "pull_request.*"],
      ["search", "readme"],
    ],
  },
];

export async function runSearches(run: DemoRun): Promise<void> {
  if (!run.searchable) {
    printRow("left out", "not every log is searchable");
    return;
  }
  for (const { query, expected } of examples) {
    const label = query.map(([name, value]) => `${name}=${value}`).join(" ");
    const { data, ms } = await run.client.request("/logs", page, {
      query: [["request_id", run.id], ...query],
    });
    run.sources.add(data.source);
    const [first] = data.items;
    const sample = first && [first.action, first.resource_name ?? ""].join(" ").trim();
    printRow(label, `${data.total} logs${sample === undefined ? "" : `: ${cut(sample)}`}`, ms);
    if (expected === undefined) {
      if (data.total === 0) run.problems.push(`the search ${label} found nothing`);
      continue;
    }
    const count = run.entries.filter(expected).length;
    if (data.total !== count) {
      run.problems.push(`the filter ${label} found ${data.total} logs, not ${count}`);
    }
  }
  await showStats(run);
}

async function showStats(run: DemoRun): Promise<void> {
  const answer = await run.client.request("/logs/stats", stats, {
    query: [["request_id", run.id]],
  });
  const { total, action_counts, user_counts } = answer.data.data;
  const [action] = action_counts;
  const [user] = user_counts;
  const top = [action, user].flatMap((found) => (found ? `${found.key} ${found.doc_count}` : []));
  printRow("stats", [`${total} logs`, ...top].join(", "), answer.ms);
  if (total !== run.entries.length) {
    run.problems.push(`the stats are over ${total} logs, not ${run.entries.length}`);
  }
}

function cut(text: string): string {
  return text.length > 44 ? `${text.slice(0, 43)}…` : text;
}
