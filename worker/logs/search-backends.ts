import type { Context } from "hono";
import { connectDatabase, connectReplica } from "../../db/client.ts";
import type { SettledMark } from "../../db/settled-mark.ts";
import type { TenantScope } from "../../events/tenant-scope.ts";
import { requireSection } from "../../platform/config.ts";
import type { AppEnv } from "../env.ts";
import { countDegradedSearch } from "./count-degraded.ts";
import type { Backends } from "./find-logs.ts";
import { settledMark } from "./settled-mark.ts";

/**
 * What answers a search of the caller, and the mark of the tenant, which is read before the search is sent.
 *
 * @returns `indexedThrough`: every log stored before this time can be found, in milliseconds since 1970
 */
export async function searchBackends(
  c: Context<AppEnv>,
  scope: TenantScope,
): Promise<{ backends: Backends; mark: SettledMark; indexedThrough: number }> {
  const { caller, config, logger } = c.var;
  const { search } = config.sections;
  const db = connectDatabase(requireSection(config, "database"));
  const mark = await settledMark(db, caller);
  const readConfig = config.sections.readDatabase?.replica;
  const replica = readConfig && connectReplica(readConfig, mark.walPosition);
  const onDegraded = () => countDegradedSearch(c, db);
  return {
    backends: { db, replica, search, scope, logger, onDegraded },
    mark,
    // Where there is no OpenSearch, Postgres is the search: what is stored is searchable.
    indexedThrough: search ? mark.indexedThrough : mark.safeTime,
  };
}
