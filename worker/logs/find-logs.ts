import { type Database, ReplicaBehind, sqlState } from "../../db/client.ts";
import { countLogsInPostgres, listLogs } from "../../db/list-logs.ts";
import { repeatable } from "../../db/repeatable.ts";
import { type LogFilter, maxPageBytes, type PageRequest } from "../../events/log-filter.ts";
import type { LogStats } from "../../events/log-stats.ts";
import type { TenantScope } from "../../events/tenant-scope.ts";
import type { SearchConfig } from "../../platform/config.ts";
import { ApiError, reasonOf } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";
import { connectSearch } from "../../search/client.ts";
import { countLogs } from "../../search/count-logs.ts";
import { searchLogs, type SearchPage } from "../../search/search-logs.ts";
import { throughBreaker } from "./search-breaker.ts";

/** How long OpenSearch may take before Postgres is asked instead. */
const searchTimeoutMs = 3_000;
/** The primary writes its log out within 200 ms, also where nobody commits: a replica is asked that often. */
const maxReplicaTries = 4;
const replicaWaitMs = 150;
/** SQLSTATE query_canceled. */
const statementTimeout = "57014";

export type Source = "opensearch" | "postgres";

export type Backends = {
  db: Database;
  /** A read replica, which spares the primary what OpenSearch does not answer. */
  replica: Database | undefined;
  /** Undefined where no OpenSearch is configured. */
  search: SearchConfig | undefined;
  scope: TenantScope;
  logger: Logger;
  /** Called where OpenSearch did not answer. */
  onDegraded: () => void;
};

/** One page of logs, from OpenSearch if it answers and else from Postgres. */
export async function findLogs(
  backends: Backends,
  filter: LogFilter,
  page: PageRequest,
): Promise<SearchPage & { source: Source }> {
  return withFallback(
    backends,
    (search) =>
      searchLogs(
        connectSearch(search, searchTimeoutMs, maxPageBytes),
        backends.scope,
        filter,
        page,
      ),
    (db) => listLogs(db, backends.scope, filter, page),
  );
}

/** Counts of logs, from OpenSearch if it answers and else from Postgres. */
export async function findStats(
  backends: Backends,
  filter: LogFilter,
): Promise<LogStats & { source: Source }> {
  return withFallback(
    backends,
    (search) => countLogs(connectSearch(search, searchTimeoutMs), backends.scope, filter),
    (db) => countLogsInPostgres(db, backends.scope, filter),
  );
}

async function withFallback<T>(
  backends: Backends,
  fromOpenSearch: (search: SearchConfig) => Promise<T>,
  fromPostgres: (db: Database) => Promise<T>,
): Promise<T & { source: Source }> {
  const { search, logger, onDegraded } = backends;
  if (search) {
    try {
      const found = await throughBreaker(search.node, logger, () => fromOpenSearch(search));
      return { ...found, source: "opensearch" };
    } catch (error) {
      logger.warning("search_degraded", { reason: reasonOf(error) });
      onDegraded();
    }
  }
  try {
    return { ...(await fromReplicaOrPrimary(backends, fromPostgres)), source: "postgres" };
  } catch (error) {
    if (sqlState(error) !== statementTimeout) throw error;
    const detail =
      "The search took too long without its index. Narrow it by from and to, or try again.";
    throw new ApiError("search_unavailable", detail, { cause: error });
  }
}

/** The replica, where it has replayed what the settled mark promises, else the primary. */
async function fromReplicaOrPrimary<T>(
  { db, replica, logger }: Backends,
  read: (db: Database) => Promise<T>,
): Promise<T> {
  const readPrimary = () => repeatable(() => read(db));
  if (!replica) return await readPrimary();
  for (let tries = 1; ; tries++) {
    try {
      return await read(replica);
    } catch (error) {
      // What takes the replica too long would only load the primary as well.
      if (sqlState(error) === statementTimeout) throw error;
      if (!(error instanceof ReplicaBehind) || tries === maxReplicaTries) {
        logger.warning("replica_skipped", { reason: reasonOf(error) });
        return await readPrimary();
      }
      await new Promise((resolve) => setTimeout(resolve, replicaWaitMs));
    }
  }
}
