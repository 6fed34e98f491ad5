import type { AuditLog } from "../../events/audit-log.ts";
import type { ExportColumn } from "../../events/csv-columns.ts";

/** An apostrophe, or what a spreadsheet takes for a formula, also after spaces and what cannot be seen. */
const guarded = /^(?:'|[\s\p{Cc}\p{Cf}]*[\t\r\n\0=+\-@\uFF1D\uFF0B\uFF0D\uFF20])/u;

/**
 * The record of a log in a CSV file as docs/exports.md tells it: what an exported file is compared with. The
 * service has Postgres make it; this is written without a look at that.
 */
export function csvRow(log: AuditLog, columns: readonly ExportColumn[]): string {
  return `${columns.map((column) => csvField(log[column])).join(",")}\r\n`;
}

function csvField(value: string | null): string {
  if (value === null) return "";
  const safe = guarded.test(value) ? `'${value}` : value;
  return value === "" || /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
