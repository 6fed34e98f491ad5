import { type SQL, sql } from "drizzle-orm";
import { jsonFields } from "../events/audit-log.ts";
import type { ExportColumn } from "../events/csv-columns.ts";
import type { ExportFormat } from "../events/export.ts";
import { timeForm } from "./time-text.ts";

/** What a row of an export looks like. */
export type RowForm = { format: ExportFormat; columns: readonly ExportColumn[] };

/**
 * What may begin a value of a CSV file without any doubt: a letter, a digit, and how JSON texts and most
 * other values begin. Nearly every value does, so that the pattern below is seldom asked. As code points;
 * Postgres looks a value up in so long a list by its hash.
 */
const plainStart = `'{${Array.from(
  'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789{[(<"/_.:*#',
  (character) => character.charCodeAt(0),
).join(",")}}'::integer[]`;

/** White space, control and format characters (Unicode's Zs, Zl, Zp, Cc, Cf), for a bracket of Postgres' patterns. */
const unseen = [
  String.raw`\u0001-\u0020\u007F-\u00A0\u00AD\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2`,
  String.raw`\u1680\u180E\u2000-\u200F\u2028-\u202F\u205F-\u2064\u2066-\u206F\u3000\uFEFF\uFFF9-\uFFFB`,
  String.raw`\U000110BD\U000110CD\U00013430-\U0001343F\U0001BCA0-\U0001BCA3`,
  String.raw`\U0001D173-\U0001D17A\U000E0001\U000E0020-\U000E007F`,
].join("");

/** An apostrophe, or what a spreadsheet takes for a formula, also after what cannot be seen. */
const guarded = String.raw`'^(?:''|[${unseen}]*[\t\r\n=+@\uFF1D\uFF0B\uFF0D\uFF20-])'`;

const lists = new Set<ExportColumn>(["truncated_fields", "masked_fields"]);
/** The service makes these itself: of letters, digits and hyphens, or objects and lists, which begin with a bracket. */
const harmless = new Set<ExportColumn>([
  "id",
  "created_at",
  "occurred_at",
  "severity",
  ...jsonFields,
]);

/** Times are RFC 3339 in UTC with milliseconds; of the rest Postgres makes text where it is needed. */
function valueOf(column: ExportColumn): string {
  return column === "created_at" || column === "occurred_at"
    ? `to_char(audit_logs.${column} at time zone 'UTC', ${timeForm})`
    : `audit_logs.${column}`;
}

function csvField(column: ExportColumn): string {
  const value = valueOf(column);
  if (harmless.has(column)) return value;
  return `case when ascii(${value}) = any(${plainStart}) then ${value}
    when ${value} ~ ${guarded} then '''' || ${value} else ${value} end`;
}

/** As the API answers: null for what a log does not have, but for the lists, which are left out then. */
function jsonObject(
  columns: readonly ExportColumn[],
  [list, ...others] = columns.filter((column) => lists.has(column)),
): string {
  if (list === undefined) {
    const members = columns.map((column) => `${valueOf(column)} as ${column}`);
    return `(select row_to_json(log) from (select ${members.join(", ")}) as log)`;
  }
  const without = columns.filter((column) => column !== list);
  return `case when audit_logs.${list} is null then ${jsonObject(without, others)}
    else ${jsonObject(columns, others)} end`;
}

/** What Postgres makes of a log: one text. Joined by `rowSeparator` they are for `linesIn` of text-lines.ts. */
export function rowText({ format, columns }: RowForm): SQL {
  // Names of columns and constants only. As drizzle's chunks, putting it together takes 5 ms for each page.
  return sql.raw(
    format === "csv"
      ? `row(${columns.map(csvField).join(", ")})::text`
      : `${jsonObject(columns)}::text`,
  );
}

/** Stands between logs. In a JSON object there is no line feed; of CSV see linesIn. */
export function rowSeparator({ format }: RowForm): SQL {
  return sql.raw(format === "csv" ? String.raw`E'\\\n'` : String.raw`E'\n'`);
}
