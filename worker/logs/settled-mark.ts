import { type Database } from "../../db/client.ts";
import { repeatable } from "../../db/repeatable.ts";
import { readSettledMark, type SettledMark } from "../../db/settled-mark.ts";
import type { Admission } from "../../events/tenant-scope.ts";
import type { Caller } from "../auth/caller.ts";

const keepMs = 1_000;
const maxTenants = 1_000;
const marks = new Map<string, { readAt: number; mark: SettledMark; admission: Admission }>();

/**
 * The mark of the caller's tenant, at most a second old. It must be read before the search is sent: a log
 * that settles in between is found besides, one that the mark covers is never missed.
 *
 * Reading it admits the caller, as every transaction of a request does. One that another caller read is
 * only for those who would have been admitted then too.
 */
export async function settledMark(
  db: Database,
  { tenantId, admission }: Caller,
): Promise<SettledMark> {
  const known = marks.get(tenantId);
  const readAt = Date.now();
  if (known && readAt - known.readAt < keepMs && isCovered(admission, known.admission))
    return known.mark;
  const mark = await repeatable(() => readSettledMark(db, tenantId, admission));
  if (marks.size >= maxTenants) marks.clear();
  marks.set(tenantId, { readAt, mark, admission });
  return mark;
}

/** Whether who is admitted with the one is admitted with the other as well. */
function isCovered(asked: Admission, known: Admission): boolean {
  return asked.issuedAt >= known.issuedAt && (known.mustBeKnown || !asked.mustBeKnown);
}
