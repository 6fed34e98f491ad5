import { z } from "zod";
import { exportColumns } from "./csv-columns.ts";

const count = z.int().min(0);
/** The first and the last id; null where there is no row. */
const ids = { first_id: z.uuid().nullable(), last_id: z.uuid().nullable() };

/**
 * The small JSON object beside an exported file, by which it can be checked without the service. The parts,
 * one after the other, are the file. Rows are logs: a CSV file's header is none. Bytes are those of the file as
 * it is stored, so compressed ones where it is compressed.
 */
export const exportManifest = z.strictObject({
  version: z.literal(1),
  export_id: z.string(),
  tenant_id: z.string(),
  requested_by: z.string(),
  created_at: z.iso.datetime(),
  finished_at: z.iso.datetime(),
  format: z.enum(["csv", "jsonl"]),
  compression: z.enum(["none", "gzip"]),
  columns: z.array(z.enum(exportColumns)).min(1),
  filters: z.record(z.string(), z.unknown()),
  /** The file's name. */
  file: z.string(),
  rows: count,
  bytes: count,
  ...ids,
  parts: z.array(
    z.strictObject({
      /** 1 for the first. */
      number: z.int().min(1),
      rows: count,
      bytes: count,
      /** SHA-256 of the part's bytes, in hex. */
      sha256: z.string().regex(/^[0-9a-f]{64}$/, "must be a SHA-256 in lower-case hex"),
      ...ids,
    }),
  ),
});

export type ExportManifest = z.output<typeof exportManifest>;
export type ExportPart = ExportManifest["parts"][number];
