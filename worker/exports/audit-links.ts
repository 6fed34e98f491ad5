import type { Context } from "hono";
import { readScope } from "../auth/caller.ts";
import type { AppEnv } from "../env.ts";
import { auditRead } from "../logs/audit-read.ts";
import type { ExportAnswer } from "./export-answer.ts";

/**
 * Records that links to the files of exports were given: whoever has one reads every log in the file, and the
 * service does not see it.
 */
export function auditLinks(c: Context<AppEnv>, exports: readonly ExportAnswer[]): void {
  const ids = exports.flatMap(({ id, file_url: url }) => (url === null ? [] : [id]));
  const [first] = ids;
  if (first === undefined) return;
  auditRead(c, readScope(c.var.caller), null, {
    action: "audit_log.export_link_given",
    event: () => ({
      resource_type: "export",
      ...(ids.length === 1 ? { resource_id: first } : { metadata: { exports: ids } }),
    }),
    what: ids,
    from: "changes",
  });
}
