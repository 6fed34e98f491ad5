import type { Context } from "hono";
import type { LogFilter } from "../../events/log-filter.ts";
import type { ReadAuditLevel } from "../../events/read-audit.ts";
import type { TenantScope } from "../../events/tenant-scope.ts";
import type { AppEnv } from "../env.ts";
import { auditRead } from "./audit-read.ts";
import { filtersText, ownFiltersOf } from "./shown-filters.ts";

type Search = {
  action: "audit_log.searched" | "audit_log.counted";
  filter: LogFilter;
  /** What is recorded of the answer. */
  found: object;
};

/** Records a list, a search or a count. Pages of one list are one search, whatever their order. */
export function auditSearch(
  c: Context<AppEnv>,
  scope: TenantScope,
  level: ReadAuditLevel | null,
  { action, filter, found }: Search,
): void {
  auditRead(c, scope, level, {
    event: (mask) => {
      const filters = ownFiltersOf(filtersText(c), mask);
      return { resource_type: "audit_log", metadata: { filters, ...found } };
    },
    action,
    what: filter,
    from: "searches",
  });
}
