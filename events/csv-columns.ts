import { answerFields, type AuditLog, jsonFields } from "./audit-log.ts";

/** What an export may hold of an audit log: every field that answers give, in their order. */
export const exportColumns = [...answerFields, ...jsonFields] as const;

export type ExportColumn = (typeof exportColumns)[number];

/** The log's values for `csvRow`. Objects and lists are their JSON text, every digit and the order of keys kept. */
export function csvValues(log: AuditLog, columns: readonly ExportColumn[]): (string | null)[] {
  return columns.map((column) => log[column]);
}
