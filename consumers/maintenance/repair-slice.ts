import type { Client } from "@opensearch-project/opensearch";
import { findExisting, readSliceIds, sumSlices } from "../../db/compare-logs.ts";
import type { Database } from "../../db/client.ts";
import { countExtra, putBack, putBackSlice, type RepairKind } from "../../db/repairs.ts";
import { idMonth, idTime, isUuid } from "../../events/ids.ts";
import {
  areEqual,
  cutSlice,
  idCheck,
  type LogSlice,
  type LogSums,
} from "../../events/log-slice.ts";
import type { Logger } from "../../platform/logger.ts";
import {
  deleteIndexed,
  findIndexed,
  type IndexedLog,
  maxHits,
  sumIndexedSlices,
} from "../../search/compare-logs.ts";
import { indexMonth } from "../../search/index-template.ts";

/** `safeTime`: milliseconds since 1970; everything stored before is in Postgres for all to see. */
export type RepairTools = {
  db: Database;
  /** Where sums over many logs are read from; what they say is wrong is looked at in `db`. */
  replica?: Database | undefined;
  search: Client;
  logger: Logger;
  safeTime: number;
};

/** What a run may still do: until a time, and so many repairs. */
export type Budget = { until: number; repairs: number };

export const hasRoom = (budget: Budget): boolean => budget.repairs > 0 && Date.now() < budget.until;

export type Findings = Record<RepairKind, number>;

export type UnequalSlice = { slice: LogSlice; stored: LogSums; indexed: LogSums };

/** Documents that are compared one by one, at most. */
const maxCompared = 2_000;
const partsOfSlice = 16;

/**
 * Finds in which logs Postgres and an index differ within a slice, by cutting it into ever smaller ones, the
 * oldest first, and repairs them: logs that are missing or different go back into the outbox, documents of
 * no log are deleted.
 *
 * @returns what was found; and where the budget ended first, the time from which on more may be wrong
 */
export async function repairSlice(
  unequal: UnequalSlice,
  index: string,
  tools: RepairTools,
  budget: Budget,
): Promise<{ found: number; stoppedAt: number | null }> {
  const findings: Findings = { missing: 0, extra: 0, different: 0 };
  const stoppedAt = await repairParts(unequal, index, tools, budget, findings);
  const { tenantId, from, to } = unequal.slice;
  const found = findings.missing + findings.extra + findings.different;
  if (found > 0) {
    const slice = { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
    tools.logger.warning("repaired", { tenant_id: tenantId, ...slice, ...findings });
  }
  return { found, stoppedAt };
}

async function repairParts(
  unequal: UnequalSlice,
  index: string,
  tools: RepairTools,
  budget: Budget,
  findings: Findings,
): Promise<number | null> {
  const stack = [unequal];
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { slice, stored, indexed } = next;
    if (!hasRoom(budget)) return slice.from;
    if (indexed.logs === 0) {
      const { count, lastId } = await putBackSlice(tools.db, slice, budget.repairs);
      findings.missing += count;
      budget.repairs -= count;
      if (budget.repairs === 0 && lastId !== null) return idTime(lastId);
    } else if (Math.max(stored.logs, indexed.logs) <= maxCompared || slice.to - slice.from === 1) {
      await repairLogs(slice, index, tools, budget, findings);
    } else {
      const parts = cutSlice(slice, partsOfSlice);
      const storedSums = await sumSlices(tools.db, parts);
      const indexedSums = await sumIndexedSlices(tools.search, index, parts);
      const none = { logs: 0, check: 0 };
      const unequalParts = parts
        .map((part, n) => ({
          slice: part,
          stored: storedSums[n] ?? none,
          indexed: indexedSums[n] ?? none,
        }))
        .filter((part) => !areEqual(part.stored, part.indexed));
      stack.push(...unequalParts.toReversed());
    }
  }
  return null;
}

/**
 * Compares id by id. Postgres is read first: what did not wait there by then was searchable, so that not to
 * find it in the index afterwards means that it is lost.
 */
async function repairLogs(
  slice: LogSlice,
  index: string,
  tools: RepairTools,
  budget: Budget,
  findings: Findings,
): Promise<void> {
  const { tenantId } = slice;
  const stored = await readSliceIds(tools.db, slice, maxHits);
  const indexed = await findIndexed(tools.search, index, slice);
  const present = new Set<string>();
  const different: IndexedLog[] = [];
  const unknown: IndexedLog[] = [];
  for (const document of indexed) {
    const log = stored.get(document.id);
    if (!log || isMisplaced(document, tenantId)) {
      unknown.push(document);
      continue;
    }
    present.add(document.id);
    const isSame = document.fieldId === document.id && document.check === idCheck(document.id);
    if (!log.waits && !isSame) different.push(document);
  }
  const missing = [...stored].filter(([id, { waits }]) => !waits && !present.has(id));
  await spend("missing", findings, budget, () =>
    putBack(
      tools.db,
      tenantId,
      missing.map(([id]) => ({ id, minRev: 1 })),
      "missing",
    ),
  );
  await putBackDifferent(tenantId, different, tools, budget, findings);
  await repairUnknown(tenantId, unknown, tools, budget, findings);
}

/**
 * Documents that stand where no log of the tenant does: what another log of it should be is written again,
 * the rest is deleted. Postgres is asked once more, after the index.
 */
export async function repairUnknown(
  tenantId: string,
  documents: readonly IndexedLog[],
  tools: RepairTools,
  budget: Budget,
  findings: Findings,
): Promise<void> {
  const ids = documents.map((document) => document.id).filter(isUuid);
  const existing = await findExisting(tools.db, tenantId, ids);
  const isLog = (document: IndexedLog) =>
    existing.has(document.id) && !isMisplaced(document, tenantId);
  await putBackDifferent(tenantId, documents.filter(isLog), tools, budget, findings);
  const extra = documents.filter(
    (document) =>
      !isLog(document) &&
      // A log of this id may still be under way to being stored.
      (existing.has(document.id) || !isUuid(document.id) || idTime(document.id) < tools.safeTime),
  );
  await spend("extra", findings, budget, async () => {
    const deleted = await deleteIndexed(tools.search, extra);
    if (deleted > 0) await countExtra(tools.db, deleted);
    return deleted;
  });
}

/** In an index of another month, or where searches of its tenant do not look. */
function isMisplaced(document: IndexedLog, tenantId: string): boolean {
  const month = indexMonth(document.index);
  return (
    document.routing !== tenantId ||
    (month !== undefined && isUuid(document.id) && month !== idMonth(document.id))
  );
}

function putBackDifferent(
  tenantId: string,
  documents: readonly IndexedLog[],
  tools: RepairTools,
  budget: Budget,
  findings: Findings,
): Promise<void> {
  // Above the document's version, or the index would take what is written for the older one.
  const logs = documents.map(({ id, version }) => ({ id, minRev: version + 1 }));
  return spend("different", findings, budget, () => putBack(tools.db, tenantId, logs, "different"));
}

async function spend(
  kind: RepairKind,
  findings: Findings,
  budget: Budget,
  repair: () => Promise<number>,
): Promise<void> {
  const count = await repair();
  findings[kind] += count;
  budget.repairs = Math.max(0, budget.repairs - count);
}
