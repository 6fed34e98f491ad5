import { z } from "zod";
import { exportColumns } from "./csv-columns.ts";
import { exactFields } from "./log-filter.ts";

export const exportFormats = ["csv", "jsonl"] as const;
export const exportCompressions = ["none", "gzip"] as const;
export const exportStatuses = ["PENDING", "IN_PROGRESS", "DONE", "FAILED", "CANCELLED"] as const;

export type ExportFormat = (typeof exportFormats)[number];
export type ExportCompression = (typeof exportCompressions)[number];
export type ExportStatus = (typeof exportStatuses)[number];

export const exportColumn = z
  .enum(exportColumns, `must be among ${exportColumns.join(", ")}`)
  .meta({ id: "ExportColumn", description: "A field of an audit log.", examples: ["action"] });

/** A LogFilter as an export's row keeps it, read back. */
export const storedFilter = z.object({
  exact: z.partialRecord(z.enum(exactFields), z.array(z.string())),
  action: z.array(z.string()),
  target_id: z.array(z.string()),
  ip_address: z.array(z.string()),
  email_hash: z.array(z.string()),
  metadata: z.array(z.object({ path: z.string(), value: z.string() })),
  from: z.number().nullable(),
  to: z.number().nullable(),
  occurred_from: z.number().nullable(),
  occurred_to: z.number().nullable(),
  search: z.array(
    z.object({
      kind: z.enum(["phrase", "prefix"]),
      text: z.string(),
      words: z.array(z.string()),
      not: z.boolean(),
    }),
  ),
});

/** What an export has of the part under way, without its bytes. */
export const exportTail = z.object({
  rows: z.int(),
  firstId: z.string().nullable(),
  lastId: z.string().nullable(),
  /** Of the bytes, in hex: another exporter may have overwritten them. */
  sha256: z.string(),
});
export type ExportTail = z.infer<typeof exportTail>;

/** Filters as they were asked for, for a person to read: addresses and secrets are masked. */
export const shownFilters = z.record(z.string(), z.union([z.string(), z.array(z.string())]));
export type ShownFilters = z.infer<typeof shownFilters>;
