import { DatabaseUnavailable, sqlState } from "../../db/client.ts";
import { sumSlices, sumTenants } from "../../db/compare-logs.ts";
import { readLeaving } from "../../db/index-removals.ts";
import { beginScan, saveScan, type Scan } from "../../db/reconcile-progress.ts";
import { areEqual, type LogSums } from "../../events/log-slice.ts";
import { sumIndexedSlices, sumIndexedTenants } from "../../search/compare-logs.ts";
import { readAlias } from "../../search/index-template.ts";
import {
  type Budget,
  hasRoom,
  repairSlice,
  type RepairTools,
  type UnequalSlice,
} from "./repair-slice.ts";

const tenantsPerBatch = 500;
export const widths = { least: 60_000, first: 24 * 60 * 60 * 1000, most: 31 * 24 * 60 * 60 * 1000 };
/** A slice of all tenants should take about this long: a slower one is halved, a much faster one doubled. */
const batchMs = 1_000;

type Time = { from: number; to: number };
/** `through`: the last tenant of the batch; undefined where it has all that are left. */
type Batch = { unequal: UnequalSlice[]; through: string | undefined };

/** Goes on with a scan as far as the budget allows, and keeps where it is. */
export async function runScan(scan: Scan, tools: RepairTools, budget: Budget): Promise<Scan> {
  let at = scan;
  while (at.from < at.until && hasRoom(budget)) {
    let to = Math.min(at.from + at.width, at.until);
    // Not while some tenants are done already: the others must be compared up to the same time.
    if (to > tools.safeTime && at.tenant === "") to = tools.safeTime;
    if (to > tools.safeTime || to <= at.from) break;
    const time = { from: at.from, to };
    at = { ...at, width: to - at.from };
    const began = Date.now();
    try {
      const compared = await compareOnReplica(at, time, tools);
      const batch = { ...compared, unequal: await withoutLeaving(compared.unequal, at, tools) };
      at = await repairBatch(at, batch, time, tools, budget);
    } catch (error) {
      // A statement that takes too long is one over too many logs.
      if (!(error instanceof DatabaseUnavailable) || at.width <= widths.least) throw error;
      at = { ...at, width: narrower(at.width) };
    }
    if (at.from === time.to && Date.now() - began < batchMs / 4)
      at = { ...at, width: Math.min(at.width * 2, widths.most) };
    else if (Date.now() - began > batchMs) at = { ...at, width: narrower(at.width) };
    await saveScan(tools.db, at);
  }
  return at;
}

const narrower = (width: number) =>
  width <= widths.least ? width : Math.max(widths.least, Math.floor(width / 2));

/** On the replica where there is one, and it has replayed what the run began with; else on the primary. */
async function compareOnReplica(scan: Scan, time: Time, tools: RepairTools): Promise<Batch> {
  const { replica } = tools;
  if (!replica) return compareBatch(scan, time, tools);
  try {
    return await compareBatch(scan, time, { ...tools, db: replica });
  } catch (error) {
    // What takes the replica too long is over too many logs there as here.
    const isElsewhere = error instanceof DatabaseUnavailable && sqlState(error) !== "57014";
    if (!isElsewhere) throw error;
    return compareBatch(scan, time, tools);
  }
}

async function compareBatch(scan: Scan, time: Time, { db, search }: RepairTools): Promise<Batch> {
  if (scan.onlyTenant !== "") {
    const slice = { tenantId: scan.onlyTenant, ...time };
    const [stored] = await sumSlices(db, [slice]);
    const [indexed] = await sumIndexedSlices(search, scan.index, [slice]);
    return { unequal: unequalOf([slice.tenantId], [stored], [indexed], time), through: undefined };
  }
  const stored = await sumTenants(db, time, scan.tenant, tenantsPerBatch);
  const last = stored.length === tenantsPerBatch ? stored.at(-1)?.tenantId : undefined;
  const range = { after: scan.tenant, last };
  const indexed = await sumIndexedTenants(search, scan.index, time, range, tenantsPerBatch);
  // Where one side has more tenants than fit, the batch ends with the last that both sides speak of.
  const through = indexed.length === tenantsPerBatch ? indexed.at(-1)?.tenantId : last;
  const isWithin = ({ tenantId }: { tenantId: string }) =>
    through === undefined || compareBytes(tenantId, through) <= 0;
  const byTenant = (sums: (LogSums & { tenantId: string })[]) =>
    new Map(sums.filter(isWithin).map((sum) => [sum.tenantId, sum]));
  const [storedOf, indexedOf] = [byTenant(stored), byTenant(indexed)];
  // A tenant that has documents and is not known may still have logs.
  const strangers = [...indexedOf.keys()].filter((tenantId) => !storedOf.has(tenantId));
  const sums = await sumStrangers(strangers, time, db);
  const tenants = [...storedOf.keys(), ...strangers].toSorted(compareBytes);
  const unequal = unequalOf(
    tenants,
    tenants.map((tenantId) => storedOf.get(tenantId) ?? sums.get(tenantId)),
    tenants.map((tenantId) => indexedOf.get(tenantId)),
    time,
  );
  return { unequal, through };
}

async function sumStrangers(
  tenants: string[],
  time: Time,
  db: RepairTools["db"],
): Promise<Map<string, LogSums>> {
  if (tenants.length === 0) return new Map();
  const sums = await sumSlices(
    db,
    tenants.map((tenantId) => ({ tenantId, ...time })),
  );
  return new Map(tenants.flatMap((tenantId, n) => (sums[n] ? [[tenantId, sums[n]]] : [])));
}

function unequalOf(
  tenants: string[],
  stored: (LogSums | undefined)[],
  indexed: (LogSums | undefined)[],
  time: Time,
): UnequalSlice[] {
  const none = { logs: 0, check: 0 };
  return tenants
    .map((tenantId, n) => ({
      slice: { tenantId, ...time },
      stored: stored[n] ?? none,
      indexed: indexed[n] ?? none,
    }))
    .filter((slice) => !areEqual(slice.stored, slice.indexed));
}

/**
 * What retention has removed from Postgres leaves the index by itself, and soon: a slice is compared once more
 * without the time of that, or not at all.
 */
async function withoutLeaving(
  unequal: UnequalSlice[],
  { index }: Scan,
  { db, search }: RepairTools,
): Promise<UnequalSlice[]> {
  if (unequal.length === 0) return unequal;
  const leaving = await readLeaving(
    db,
    unequal.map(({ slice }) => slice.tenantId),
  );
  const left: UnequalSlice[] = [];
  for (const one of unequal) {
    const { slice } = one;
    const from = (leaving.get(slice.tenantId) ?? -1) + 1;
    if (from <= slice.from) left.push(one);
    else if (from < slice.to) {
      const rest = { from, to: slice.to };
      const part = [{ tenantId: slice.tenantId, ...rest }];
      const [stored] = await sumSlices(db, part);
      const [indexed] = await sumIndexedSlices(search, index, part);
      left.push(...unequalOf([slice.tenantId], [stored], [indexed], rest));
    }
  }
  return left;
}

async function repairBatch(
  scan: Scan,
  batch: Batch,
  time: Time,
  tools: RepairTools,
  budget: Budget,
): Promise<Scan> {
  let { tenant, found } = scan;
  for (const unequal of batch.unequal) {
    const repaired = await repairSlice(unequal, scan.index, tools, budget);
    found += repaired.found;
    if (repaired.stoppedAt !== null) {
      if (!scan.holdsMark && scan.index === readAlias)
        await openGap(unequal, repaired.stoppedAt, scan, tools);
      return { ...scan, tenant, found, width: narrower(scan.width) };
    }
    tenant = unequal.slice.tenantId;
  }
  if (batch.through !== undefined) return { ...scan, tenant: batch.through, found };
  return { ...scan, from: time.to, tenant: "", found };
}

/** Logs of a tenant are known to be lost, and more than a run may repair: its readers must not trust them to be there. */
async function openGap(
  { slice }: UnequalSlice,
  from: number,
  scan: Scan,
  { db }: RepairTools,
): Promise<void> {
  await beginScan(db, {
    name: `gap ${slice.from} ${slice.tenantId}`,
    index: scan.index,
    onlyTenant: slice.tenantId,
    from,
    until: slice.to,
    width: widths.first,
    holdsMark: true,
  });
}

/** The order of Postgres's collation C and of OpenSearch's keywords: that of UTF-8. */
function compareBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}
