import type { Client } from "@opensearch-project/opensearch";
import { connectDatabase, type Database } from "../../db/client.ts";
import {
  type IndexRemoval,
  nextRemoval,
  postponeRemoval,
  settleRemoval,
} from "../../db/index-removals.ts";
import { underLease } from "../../db/job-leases.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import type { LogFields, Logger } from "../../platform/logger.ts";
import { connectSearch } from "../../search/client.ts";
import { removeIndexed } from "../../search/remove-logs.ts";

const searchTimeoutMs = 30_000;
const leaseSeconds = 120;
/** A run of the cron removes documents for this long at most, and a call so many of them. */
const limits = { runMs: 15_000, documentsPerCall: 5_000 };

/** The cron's part in it: OpenSearch loses what Postgres has lost, also what was lost while it was down. */
export async function removeFromIndex({
  config,
  logger,
  event,
}: {
  config: Config;
  logger: Logger;
  event: LogFields;
}): Promise<void> {
  if (!config.sections.search) return;
  const db = connectDatabase(requireSection(config, "database"));
  if (!(await nextRemoval(db))) return;
  const search = connectSearch(requireSection(config, "search"), searchTimeoutMs);
  await underLease(db, "index_removals", leaseSeconds, async () => {
    event["documents_removed"] = await removeFromSearch(db, search, logger);
  });
}

/** One run: the tenants in turn. @returns how many documents were removed */
export async function removeFromSearch(
  db: Database,
  search: Client,
  logger: Logger,
  { runMs, documentsPerCall } = limits,
): Promise<number> {
  const until = Date.now() + runMs;
  let removed = 0;
  while (Date.now() < until) {
    const removal = await nextRemoval(db);
    if (!removal) break;
    removed += await removeOne(db, search, logger, removal, documentsPerCall, until);
  }
  return removed;
}

async function removeOne(
  db: Database,
  search: Client,
  logger: Logger,
  removal: IndexRemoval,
  limit: number,
  until: number,
): Promise<number> {
  const { tenantId, throughId } = removal;
  let removed = 0;
  try {
    for (;;) {
      const call = await removeIndexed(search, tenantId, throughId, limit);
      removed += call.removed;
      const isStuck = !call.isWhole && call.removed < limit;
      if (isStuck) break;
      if (call.isWhole || Date.now() >= until) {
        await settleRemoval(db, removal, { removed, isWhole: call.isWhole });
        if (removed > 0)
          logger.info("removed_from_index", { tenant_id: tenantId, documents: removed });
        return removed;
      }
    }
  } catch (error) {
    await postponeRemoval(db, removal);
    throw error;
  }
  logger.warning("removal_incomplete", { tenant_id: tenantId, documents: removed });
  await postponeRemoval(db, removal);
  return removed;
}
