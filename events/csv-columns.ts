import { answerFields, jsonFields } from "./audit-log.ts";

/** What an export may hold of an audit log: every field that answers give, in their order. */
export const exportColumns = [...answerFields, ...jsonFields] as const;

export type ExportColumn = (typeof exportColumns)[number];

/** The first record of a CSV file: the names of its columns, which need no quotes. */
export function csvHeader(columns: readonly string[]): string {
  return `${columns.join(",")}\r\n`;
}
