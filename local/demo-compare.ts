import { countInOpenSearch, countInPostgres } from "./demo-counts.ts";
import type { Count } from "./demo-counts.ts";
import { printRow } from "./demo-run.ts";
import type { DemoRun } from "./demo-run.ts";

/** Counts the run's logs where they are kept, past the API. A store that cannot be found is not compared; one that does not answer is a problem. */
export async function compareCounts(run: DemoRun): Promise<void> {
  const { env } = run.stack;
  const sent = run.entries.length;
  printRow("sent", String(sent));
  const [inPostgres, inOpenSearch] = await Promise.all([
    countInPostgres(env, run.stored.tenantId ?? "", run.id),
    countInOpenSearch(env, run.id),
  ]);
  compare(run, "in Postgres", inPostgres, sent);
  compare(run, "in OpenSearch", inOpenSearch, sent);
  tellSource(run);
}

function compare(run: DemoRun, label: string, count: Count, sent: number): void {
  switch (count.kind) {
    case "counted":
      printRow(label, String(count.count), count.ms);
      if (count.count !== sent) {
        run.problems.push(`${sent} were sent, and ${count.count} are ${label}`);
      }
      return;
    case "absent":
      printRow(label, count.reason);
      return;
    case "unknown":
      printRow(label, `not counted: ${count.reason}`);
      run.uncounted.push(label);
      return;
    case "failed":
      printRow(label, `not counted: ${count.reason}`);
      run.problems.push(`the logs ${label} could not be counted: ${count.reason}`);
  }
}

function tellSource({ sources, stack }: DemoRun): void {
  if (!sources.has("postgres")) return;
  const why =
    stack.env === undefined
      ? "OpenSearch is not part of the stack, or did not answer"
      : stack.env["OPENSEARCH_HOST"]
        ? "OpenSearch did not answer"
        : "OpenSearch is not part of this stack";
  const what = sources.has("opensearch") ? "some of the searches" : "search";
  console.log(`\n${why}: ${what} ran from Postgres.`);
}
