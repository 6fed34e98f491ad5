import type { ExportColumn } from "../events/csv-columns.ts";
import { type Field, fieldsOf, type Marks, nothingOf } from "./export-row-text.ts";

/** A value as it comes in, and what stands before it in a line of JSON. */
export type FieldBytes = Field & { nothing: Uint8Array; key: Uint8Array; isLeftOut: boolean };

const encoder = new TextEncoder();
/** By columns, and the marks that they were made for: made anew for each page they were most of what it left behind. */
const known = new WeakMap<readonly ExportColumn[], { marks: Marks; fields: FieldBytes[] }>();

/** What a row's text has, in its order. */
export function fieldBytes(columns: readonly ExportColumn[], marks: Marks): FieldBytes[] {
  const kept = known.get(columns);
  if (kept?.marks.separator === marks.separator) return kept.fields;
  const fields = fieldsOf(columns).map((field) => ({
    ...field,
    nothing: encoder.encode(JSON.stringify(nothingOf(field, marks)).slice(1, -1)),
    key: encoder.encode(`"${field.column}":`),
    isLeftOut: field.column === "truncated_fields" || field.column === "masked_fields",
  }));
  known.set(columns, { marks, fields });
  return fields;
}
