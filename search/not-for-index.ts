import { errors } from "@opensearch-project/opensearch";
import { z } from "zod";

/** The index might leave out some of what a search should find: Postgres has to be asked. */
export class NotForIndex extends Error {
  constructor() {
    super("More words begin as the search asks for than the index looks at");
    this.name = "NotForIndex";
  }
}

const refused = z.object({
  error: z.object({ root_cause: z.array(z.object({ reason: z.string().nullish() })) }),
});

/** Whether OpenSearch gave up a prefix (Lucene's MultiTermIntervalsSource). It answers so with 500, but is well. */
export function isTooManyWords(error: unknown): boolean {
  if (!(error instanceof errors.ResponseError)) return false;
  const { data } = refused.safeParse(error.body);
  return (data?.error.root_cause ?? []).some(({ reason }) =>
    /^Automaton \[.*\] expanded to too many terms/s.test(reason ?? ""),
  );
}
