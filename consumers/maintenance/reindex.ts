import { sql } from "drizzle-orm";
import { connectDatabase, type Database } from "../../db/client.ts";
import { underLease } from "../../db/job-leases.ts";
import { readLogPage } from "../../db/log-pages.ts";
import {
  beginScan,
  readReconcileState,
  saveIndex,
  type Scan,
} from "../../db/reconcile-progress.ts";
import {
  changeReindex,
  countMonth,
  hasLogs,
  nextReindex,
  type Reindex,
  settleBound,
} from "../../db/reindexes.ts";
import { idTime } from "../../events/ids.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { reasonOf } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";
import { firstPoller } from "../../platform/poller-names.ts";
import { connectSearch } from "../../search/client.ts";
import { readIndices } from "../../search/compare-logs.ts";
import { indexInto, refreshIndices } from "../../search/index-logs.ts";
import { newAlias, readAlias, writeAlias } from "../../search/index-template.ts";
import {
  areInPlace,
  indicesOf,
  prepareReindex,
  removeNew,
  removeOld,
  swapAliases,
} from "../../search/reindex-month.ts";
import { type Budget, hasRoom, type RepairTools } from "./repair-slice.ts";
import { runScan, widths } from "./scan-slices.ts";

const searchTimeoutMs = 30_000;
const leaseSeconds = 180;
const logsPerPage = 1_000;

/**
 * `runMs`: a run works for this long at most. `graceSeconds`: so long after the swap the indexer goes on to
 * write into the old index too, for a node of the cluster that has not heard of the swap.
 */
const defaults = { runMs: 40_000, graceSeconds: 60 };

type Tools = Pick<RepairTools, "db" | "search" | "logger"> & { graceSeconds: number };
/** Whether the next step may follow at once, or has to wait for the next run. */
type Step = "go on" | "wait";

/** The cron's part in it: works on the month that is being reindexed, if any, as far as one run may. */
export async function continueReindex({
  config,
  env,
  logger,
}: {
  config: Config;
  env: { LOG_POLLER: { getByName(name: string): { wake(): Promise<void> } } };
  logger: Logger;
}): Promise<void> {
  if (!config.sections.search) return;
  const db = connectDatabase(requireSection(config, "database"));
  if (!(await nextReindex(db))) return;
  const search = connectSearch(requireSection(config, "search"), searchTimeoutMs);
  await underLease(db, "reindex", leaseSeconds, () => reindex(db, search, logger));
  // A poller that is awake is a sign of work: the next run comes in a minute, and not when logs do.
  if (await nextReindex(db)) await env.LOG_POLLER.getByName(firstPoller).wake();
}

/** One run: step by step, each kept in the database, so that it may end anywhere. */
export async function reindex(
  db: Database,
  search: RepairTools["search"],
  logger: Logger,
  limits = defaults,
): Promise<void> {
  const tools = { db, search, logger, graceSeconds: limits.graceSeconds };
  const budget: Budget = { until: Date.now() + limits.runMs, repairs: Infinity };
  while (hasRoom(budget)) {
    const row = await nextReindex(db);
    if (!row) return;
    try {
      if ((await takeStep(row, tools, budget)) === "wait") return;
    } catch (error) {
      await changeReindex(db, row, { error: reasonOf(error) });
      throw error;
    }
  }
}

async function takeStep(row: Reindex, tools: Tools, budget: Budget): Promise<Step> {
  switch (row.state) {
    case "PENDING":
      return await begin(row, tools);
    case "COPYING":
      return await copy(row, tools, budget);
    case "VERIFYING":
      return await verify(row, tools, budget);
    case "SWAPPING":
      return await swap(row, tools);
    case "SWAPPED":
      return await endDoubleWrites(row, tools);
    case "CLEANING":
      return await finish(row, tools);
    case "CANCELLING":
    case "FAILING":
      await removeNew(tools.search, row.month);
      return await end(row, tools, row.state === "FAILING" ? "FAILED" : "CANCELLED");
    default:
      return "wait";
  }
}

async function begin(row: Reindex, { db, search, logger }: Tools): Promise<Step> {
  const isEmpty =
    !(await hasLogs(db, row)) && (await indicesOf(search, writeAlias(row.month))).length === 0;
  if (isEmpty) return await end(row, { db, logger }, "DONE");
  const { source, target } = await prepareReindex(search, row.month);
  await changeReindex(db, row, {
    state: "COPYING",
    source_index: source,
    target_index: target,
    logs_total: await countMonth(db, row),
    error: null,
  });
  logger.info("reindex_began", { month: row.month, source, target });
  return "go on";
}

async function copy(row: Reindex, tools: Tools, budget: Budget): Promise<Step> {
  const { db, search, logger } = tools;
  if (!(await isInPlace(row, tools))) return await startOver(row, tools);
  const boundId = row.boundId ?? (await settleBound(db, row.month));
  if (boundId === null) {
    // A write from before is not over yet: it ends within its statement timeout.
    await new Promise((resolve) => setTimeout(resolve, 500));
    return "go on";
  }
  const ids = { fromId: row.fromId, toId: boundId < row.toId ? boundId : row.toId };
  let at = { tenant: row.tenant, lastId: row.lastId };
  let copied = row.logsCopied;
  // A page at least, however late it is in the run: else it might never get on.
  do {
    const page = await readLogPage(db, ids, at, logsPerPage);
    const logs = page.logs.map((log) => ({ ...log, rev: 1 }));
    if (logs.length > 0) {
      const outcomes = await indexInto(search, newAlias(row.month), logs);
      const poisoned = outcomes.find((outcome) => outcome.status === "poisoned");
      // The old index has it: a new one that cannot take it must not replace it.
      if (poisoned?.status === "poisoned") return await fail(row, tools, poisoned.reason);
      const late = outcomes.find((outcome) => outcome.status === "retry");
      if (late?.status === "retry") {
        await changeReindex(db, row, { error: late.reason });
        return "wait";
      }
    }
    const last = page.logs.at(-1);
    if (last) at = { tenant: last.tenant_id, lastId: last.id };
    copied += logs.length;
    const isKept = await changeReindex(db, row, {
      tenant: at.tenant,
      last_id: at.lastId,
      logs_copied: copied,
      error: null,
    });
    if (!isKept) return "go on";
    if (page.isLast) {
      await refreshIndices(search, [newAlias(row.month)]);
      await beginVerifying(row, tools);
      await changeReindex(db, row, { state: "VERIFYING" });
      return "go on";
    }
  } while (hasRoom(budget));
  logger.info("reindexing", { month: row.month, logs: copied, of: row.logsTotal });
  return "wait";
}

const scanName = (row: Reindex) => `reindex ${row.month}`;

/** The comparison with Postgres that repairs the old index, of the new one: what it lacks goes into both. */
async function beginVerifying(row: Reindex, { db }: Tools): Promise<Scan> {
  const { safeTime } = await readReconcileState(db);
  return await beginScan(db, {
    name: scanName(row),
    index: newAlias(row.month),
    from: idTime(row.fromId),
    until: Math.min(idTime(row.toId), safeTime),
    width: widths.first,
  });
}

async function verify(row: Reindex, tools: Tools, budget: Budget): Promise<Step> {
  const { db, search, logger } = tools;
  if (!(await isInPlace(row, tools))) return await startOver(row, tools);
  const state = await readReconcileState(db);
  const scan = state.scans.get(scanName(row)) ?? (await beginVerifying(row, tools));
  const repairs = { until: budget.until, repairs: logsPerPage };
  const at = await runScan(scan, { db, search, logger, safeTime: state.safeTime }, repairs);
  if (at.from < at.until) return "wait";
  if (at.found > 0) {
    // The indexer has to bring what was missing; then all is compared once more.
    logger.warning("reindex_differs", { month: row.month, logs: at.found });
    await beginVerifying(row, tools);
    return "wait";
  }
  await changeReindex(db, row, { state: "SWAPPING", error: null });
  return "go on";
}

async function swap(row: Reindex, { db, search, logger }: Tools): Promise<Step> {
  await swapAliases(search, row.month, row.targetIndex ?? "");
  const uuid = (await readIndices(search, readAlias)).get(row.targetIndex ?? "");
  if (uuid !== undefined) await saveIndex(db, row.month, uuid);
  await changeReindex(db, row, { state: "SWAPPED", swapped_at: sql`clock_timestamp()` });
  logger.info("reindex_swapped", { month: row.month, index: row.targetIndex });
  return "go on";
}

async function endDoubleWrites(row: Reindex, { db, graceSeconds }: Tools): Promise<Step> {
  if ((row.secondsSwapped ?? 0) < graceSeconds) return "wait";
  await changeReindex(db, row, { state: "CLEANING" });
  return "go on";
}

async function finish(row: Reindex, tools: Tools): Promise<Step> {
  await removeOld(tools.search, row.month);
  return await end(row, tools, "DONE");
}

async function end(
  row: Reindex,
  { db, logger }: Pick<Tools, "db" | "logger">,
  state: "DONE" | "CANCELLED" | "FAILED",
): Promise<Step> {
  await changeReindex(db, row, { state, finished_at: sql`clock_timestamp()` });
  logger.info("reindex_over", { month: row.month, state });
  return "go on";
}

async function fail(row: Reindex, { db, logger }: Tools, reason: string): Promise<Step> {
  logger.error("reindex_failed", { month: row.month, reason });
  await changeReindex(db, row, { state: "FAILING", error: reason });
  return "go on";
}

function isInPlace(row: Reindex, { search }: Tools): Promise<boolean> {
  const [source, target] = [row.sourceIndex ?? "", row.targetIndex ?? ""];
  return areInPlace(search, row.month, { source, target });
}

/** An index was deleted meanwhile, and what was written to it since is in neither: all is copied once more. */
async function startOver(row: Reindex, { db, logger }: Tools): Promise<Step> {
  logger.warning("reindex_restarted", { month: row.month });
  await changeReindex(db, row, {
    state: "PENDING",
    settle_after: null,
    bound_id: null,
    tenant: "",
    last_id: null,
    logs_copied: 0,
  });
  return "wait";
}
