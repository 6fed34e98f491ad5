import { idTime } from "../../events/ids.ts";
import type { Check } from "./check.ts";
import type { LateWrite } from "./late-commits.ts";
import type { Mark } from "./ledger.ts";

/**
 * indexed_through says that every log stored before it is there. So no answer that came while a log was
 * not committed may have covered that log, whatever was found later.
 */
export function checkMarks(marks: readonly Mark[], late: readonly LateWrite[]): Check {
  const byTenant = Map.groupBy(marks, ({ tenant }) => tenant);
  const broken = late.flatMap(({ tenant, logId, uncommittedAt }) => {
    const covering = byTenant
      .get(tenant)
      ?.find(({ through, at }) => at < uncommittedAt && through > idTime(logId));
    if (!covering) return [];
    const early = uncommittedAt - covering.at;
    return [`indexed_through covered log ${logId} at least ${early} ms before it was committed`];
  });
  return { name: "indexed_through covers no log that is not there", checked: late.length, broken };
}
