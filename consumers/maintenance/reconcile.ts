import { type Database, connectDatabase } from "../../db/client.ts";
import { underLease } from "../../db/job-leases.ts";
import {
  beginScan,
  type NewScan,
  readReconcileState,
  type ReconcileState,
  saveIndices,
  type Scan,
} from "../../db/reconcile-progress.ts";
import { countWaiting } from "../../db/repairs.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import type { Logger } from "../../platform/logger.ts";
import { connectSearch } from "../../search/client.ts";
import { findStrays, type IndexedLog, readIndices } from "../../search/compare-logs.ts";
import { addCheckMapping, indexMonth, readAlias } from "../../search/index-template.ts";
import { checkContents, nextMonth } from "./check-contents.ts";
import { type Budget, hasRoom, repairUnknown, type RepairTools } from "./repair-slice.ts";
import { runScan, widths } from "./scan-slices.ts";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
/** How far this Worker's clock and the database's may drift apart within a run. */
const slackMs = 1_000;
const searchTimeoutMs = 10_000;
const leaseSeconds = 120;

/**
 * A run works for this long at most, contents included, for which the rest is kept; and puts logs back only
 * up to this many in the outbox.
 */
const runMs = 15_000;
const contentsMs = 5_000;
const maxWaiting = 20_000;

/** What was stored lately is compared every few minutes, everything a few times a day, contents once. */
const recentEveryMs = 5 * minuteMs;
const allEveryMs = 6 * hourMs;
const contentsEveryMs = 24 * hourMs;
const contentsPerRun = 2_000;

/** The cron's part in it: compares Postgres and OpenSearch, and repairs OpenSearch, as far as one run may. */
export async function repairIndex({
  config,
  logger,
}: {
  config: Config;
  logger: Logger;
}): Promise<void> {
  if (!config.sections.search) return;
  const db = connectDatabase(requireSection(config, "database"));
  const search = connectSearch(requireSection(config, "search"), searchTimeoutMs);
  await underLease(db, "reconcile", leaseSeconds, () => reconcile(db, search, logger));
}

/** One run: what is known to be lost first, then what was stored lately, then everything, then contents. */
export async function reconcile(
  db: Database,
  search: RepairTools["search"],
  logger: Logger,
  limits = { runMs, maxWaiting },
): Promise<void> {
  const began = Date.now();
  const before = await readReconcileState(db);
  const hasLost = await watchIndices(before, db, search, logger);
  const state = hasLost ? await readReconcileState(db) : before;
  const room = limits.maxWaiting - (await countWaiting(db, limits.maxWaiting));
  const tools = { db, search, logger, safeTime: state.safeTime };
  const budget: Budget = { until: began + limits.runMs - contentsMs, repairs: room };

  for (const scan of state.scans.values()) {
    if (scan.holdsMark) report(await runScan(scan, tools, budget), logger);
  }
  for (const [name, next] of dueScans(state)) {
    if (name === "contents") budget.until = began + limits.runMs;
    if (!hasRoom(budget)) continue;
    const scan = next ? await beginScan(db, next) : state.scans.get(name);
    if (!scan || scan.finishedAt !== null) continue;
    if (next && name === "all") await repairStrays(tools, next.from, state.now, budget);
    const work = name === "contents" ? checkContents : runScan;
    report(await work(scan, tools, budget), logger);
  }
}

function report(scan: Scan, logger: Logger): void {
  const { name, from, until, found } = scan;
  const isOver = from >= until;
  const through = new Date(from).toISOString();
  // Tenants' names are not for every line; a gap's name has one.
  const fields = { scan: name.split(" ")[0], through, found, is_over: isOver };
  if (isOver && name !== "recent") logger.info("reconciled", fields);
  else logger.debug("reconciled", fields);
}

/** The scans of every run, in their order; with what to begin, where one is due. */
function dueScans({
  scans,
  now,
  safeTime,
  months,
}: ReconcileState): Map<string, NewScan | undefined> {
  const index = readAlias;
  const first = months[0] === undefined ? safeTime : monthStart(months[0]);
  const isDue = (name: string, everyMs: number) => {
    const scan = scans.get(name);
    return !scan || (scan.finishedAt !== null && now - scan.beganAt >= everyMs);
  };
  const recent = scans.get("recent");
  const recentFrom = Math.max(recent?.until ?? 0, safeTime - hourMs);
  return new Map([
    [
      "recent",
      isDue("recent", 0) && safeTime - recentFrom >= recentEveryMs
        ? { name: "recent", index, from: recentFrom, until: safeTime, width: hourMs }
        : undefined,
    ],
    [
      "all",
      isDue("all", allEveryMs)
        ? {
            name: "all",
            index,
            from: first,
            until: safeTime,
            width: scans.get("all")?.width ?? widths.first,
          }
        : undefined,
    ],
    [
      "contents",
      isDue("contents", contentsEveryMs)
        ? { name: "contents", index, from: first, until: safeTime, width: contentsPerRun }
        : undefined,
    ],
  ]);
}

/** Milliseconds since 1970 of a month such as `2026.11`. */
function monthStart(month: string): number {
  return Date.parse(`${month.replace(".", "-")}-01T00:00:00Z`);
}

/**
 * An index that is another than before, or gone, has lost its logs whatever it says: they are known to be
 * missing before any comparison has begun, and `indexed_through` says so.
 *
 * @returns whether one has
 */
async function watchIndices(
  state: ReconcileState,
  db: Database,
  search: RepairTools["search"],
  logger: Logger,
): Promise<boolean> {
  const readAt = Date.now();
  const current = new Map<string, string>();
  const swapped = new Set<string>();
  for (const [name, uuid] of await readIndices(search, readAlias)) {
    const month = indexMonth(name);
    if (month === undefined) continue;
    current.set(month, uuid);
    if (state.targets.get(month) === name) swapped.add(month);
    if (state.indices.get(month) !== uuid) await addCheckMapping(search, name);
  }
  const lost = [...state.indices].flatMap(([month, uuid]): NewScan[] => {
    if (current.get(month) === uuid || swapped.has(month)) return [];
    const from = monthStart(month);
    // What was stored after the clock was read, and indexed before the index was lost, is lost as well.
    const until = Math.min(nextMonth(from), state.now + (Date.now() - readAt) + slackMs);
    // A month that has not begun has nothing to lose.
    if (until <= from) return [];
    return [
      { name: `gap ${month}`, index: readAlias, from, until, width: widths.first, holdsMark: true },
    ];
  });
  const isSame =
    lost.length === 0 && [...current].every(([month, uuid]) => state.indices.get(month) === uuid);
  if (isSame) return false;
  for (const { name } of lost) logger.error("index_lost", { month: name.slice("gap ".length) });
  await saveIndices(db, current, lost);
  return lost.length > 0;
}

/** Documents that no slice has, and what no month of Postgres has. */
async function repairStrays(
  tools: RepairTools,
  from: number,
  now: number,
  budget: Budget,
): Promise<void> {
  const strays = await findStrays(tools.search, readAlias, { from, to: now + 10 * minuteMs });
  const byTenant = Map.groupBy(strays, (stray: IndexedLog) => stray.tenantId ?? "");
  for (const [tenantId, documents] of byTenant) {
    const findings = { missing: 0, extra: 0, different: 0 };
    await repairUnknown(tenantId, documents, tools, budget, findings);
    if (findings.extra + findings.different > 0)
      tools.logger.warning("repaired", { tenant_id: tenantId, ...findings });
  }
}
