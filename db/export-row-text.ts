import { type SQL, sql } from "drizzle-orm";
import { jsonFields } from "../events/audit-log.ts";
import type { ExportColumn } from "../events/csv-columns.ts";
import type { ExportFormat } from "../events/export.ts";
import { auditLogs } from "./schema.ts";

/** What a row of an export looks like. */
export type RowForm = { format: ExportFormat; columns: readonly ExportColumn[] };

/** What stands between two values, and in the place of one that is not there. */
export type Marks = { separator: string; nothing: string };

/** A value of a row: what it is, and whether it may not be there. */
export type Field = {
  column: ExportColumn;
  kind: "text" | "time" | "json";
  isNullable: boolean;
};

const json = new Set<ExportColumn>(jsonFields);

function fieldOf(column: ExportColumn): Field {
  const isTime = column === "created_at" || column === "occurred_at";
  const other = json.has(column) ? "json" : "text";
  return { column, kind: isTime ? "time" : other, isNullable: !auditLogs[column].notNull };
}

/** The values of a row's text, in order: the id comes first, wanted or not. */
export function fieldsOf(columns: readonly ExportColumn[]): Field[] {
  return (columns[0] === "id" ? columns : (["id", ...columns] as const)).map(fieldOf);
}

/**
 * Texts that hardly any value of a log has, of ASCII, and of what JSON does not escape: DEL, and a NUL as terminals
 * write it. A value that has the first, or is the second, shows in the numbers of rows and nulls (export-lines.ts).
 *
 * @param suffix makes them what no log can have
 */
export function marksWith(suffix: string): Marks {
  return { separator: `\u007F${suffix}`, nothing: `^@${suffix}` };
}

/** JSON columns have their own, which is JSON too: as text they would be copied once more. */
export function nothingOf({ kind }: Field, { nothing }: Marks): string {
  return kind === "json" ? JSON.stringify(nothing) : nothing;
}

/**
 * What Postgres makes of a log: one text, its values as they are. Rows are joined by the separator too. Times
 * are seconds of the epoch, which go by no setting of the database.
 */
export function rowText(columns: readonly ExportColumn[], marks: Marks): SQL {
  const values = fieldsOf(columns).map((field) => {
    const { kind, isNullable } = field;
    const value = `audit_logs.${field.column}`;
    if (kind === "time") return `date_part('epoch', ${value})`;
    return isNullable ? `coalesce(${value}, '${nothingOf(field, marks)}')` : value;
  });
  // Names of columns and constants only. As drizzle's chunks, putting it together takes 5 ms for each page.
  return sql.raw(`concat_ws('${marks.separator}', ${values.join(", ")})`);
}

/** How many values of a log are not there. */
export function nullsOf(columns: readonly ExportColumn[]): SQL {
  const nullable = fieldsOf(columns).filter(({ isNullable }) => isNullable);
  if (nullable.length === 0) return sql.raw("0");
  return sql.raw(`num_nulls(${nullable.map(({ column }) => `audit_logs.${column}`).join(", ")})`);
}
