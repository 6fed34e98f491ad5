import { Client as Postgres } from "pg";
import { z } from "zod";
import { parseConfig } from "../platform/config.ts";
import { connectSearch } from "../search/client.ts";
import { reasonOf } from "./demo-client.ts";

/** `absent`: the stack has none. `unknown`: nothing says where it is. `failed`: it is part of the stack, and could not be asked. */
export type Count =
  | { kind: "counted"; count: number; ms: number }
  | { kind: "absent" | "unknown" | "failed"; reason: string };

type Environment = Readonly<Record<string, string>> | undefined;

const TIMEOUT_MS = 10_000;
const ALIAS = "audit-logs";

/** How many logs of the run Postgres itself holds, past the API and its cache. */
export async function countInPostgres(
  env: Environment,
  tenantId: string,
  runId: string,
): Promise<Count> {
  const connectionString = env?.["DATABASE_URL"];
  if (!connectionString) return { kind: "unknown", reason: "its DATABASE_URL is not known here" };
  const started = performance.now();
  const client = new Postgres({
    connectionString,
    connectionTimeoutMillis: TIMEOUT_MS,
    query_timeout: TIMEOUT_MS,
  });
  try {
    await client.connect();
    await client.query("begin read only");
    // Row-level security is forced on the owner too: only the API's role sees the rows of its tenant.
    await client.query(
      "select set_config('role', 'audit_api', true), set_config('app.tenant_id', $1, true)",
      [tenantId],
    );
    const { rows } = await client.query(
      "select count(*)::int as count from audit_logs where tenant_id = $1 and request_id = $2",
      [tenantId, runId],
    );
    const [row] = z.tuple([z.object({ count: z.number() })]).parse(rows);
    return { kind: "counted", count: row.count, ms: performance.now() - started };
  } catch (error) {
    return { kind: "failed", reason: reasonOf(error) };
  } finally {
    await client.end().catch(() => undefined);
  }
}

const counted = z.object({ count: z.number() });

/** How many documents of the run OpenSearch holds, over every tenant: a copy under another one would count too. */
export async function countInOpenSearch(env: Environment, runId: string): Promise<Count> {
  if (env === undefined) return { kind: "unknown", reason: "its address is not known here" };
  if (!env["OPENSEARCH_HOST"]) return { kind: "absent", reason: "not part of this stack" };
  const search = parseConfig(env).sections.search;
  if (search === undefined) return { kind: "failed", reason: "its settings are not valid" };
  const started = performance.now();
  try {
    const { body } = await connectSearch(search, TIMEOUT_MS).count({
      index: ALIAS,
      body: { query: { term: { request_id: runId } } },
    });
    const { count } = counted.parse(body);
    return { kind: "counted", count, ms: performance.now() - started };
  } catch (error) {
    return { kind: "failed", reason: reasonOf(error) };
  }
}
