import { type Database } from "../../db/client.ts";
import { repeatable } from "../../db/repeatable.ts";
import { readSettledMark, type SettledMark } from "../../db/settled-mark.ts";

const keepMs = 1_000;
const maxTenants = 1_000;
const marks = new Map<string, { readAt: number; mark: SettledMark }>();

/**
 * The tenant's settled mark, at most a second old. It must be read before the search is sent: a log that
 * settles in between is found besides, one that the mark covers is never missed.
 */
export async function settledMark(db: Database, tenantId: string): Promise<SettledMark> {
  const known = marks.get(tenantId);
  const readAt = Date.now();
  if (known && readAt - known.readAt < keepMs) return known.mark;
  const mark = await repeatable(() => readSettledMark(db, tenantId));
  if (marks.size >= maxTenants) marks.clear();
  marks.set(tenantId, { readAt, mark });
  return mark;
}
