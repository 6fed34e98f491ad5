import { z } from "zod";
import type { LogFilter } from "./log-filter.ts";

const bucket = z
  .object({
    key: z.string().meta({ description: "The value.", examples: ["document.deleted"] }),
    doc_count: z
      .int()
      .nonnegative()
      .meta({ description: "Logs that have it.", examples: [42] }),
  })
  .meta({ id: "Bucket", description: "How many logs have a value." });
/** The most frequent values of a field that stats give. */
export const statsSize = 100;
const buckets = (of: string) =>
  z
    .array(bucket)
    .max(statsSize)
    .meta({
      description: `By ${of}: the ${statsSize} most frequent, the most frequent first.`,
    });

export const logStatsSchema = z
  .object({
    total: z
      .int()
      .nonnegative()
      .meta({ description: "Logs that the filters select.", examples: [1290] }),
    action_counts: buckets("action"),
    severity_counts: buckets("severity"),
    resource_type_counts: buckets("resource_type"),
    user_counts: buckets("user_id"),
    timeline: z.array(bucket).meta({
      description: "By created_at; a key is the beginning of its hour, day or month, in UTC.",
      examples: [[{ key: "2026-01-31T00:00:00.000Z", doc_count: 42 }]],
    }),
  })
  .meta({ id: "LogStats", description: "Counts of logs." });

export type LogStats = z.infer<typeof logStatsSchema>;

const dayMs = 24 * 60 * 60 * 1000;

/** How fine a timeline is: at most about 100 buckets for the time that was asked for. */
export function timelineUnit(filter: Pick<LogFilter, "from" | "to">): "hour" | "day" | "month" {
  if (filter.from === null) return "month";
  const span = (filter.to ?? Date.now()) - filter.from;
  if (span <= 4 * dayMs) return "hour";
  return span <= 100 * dayMs ? "day" : "month";
}
