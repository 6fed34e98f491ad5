import { z } from "zod";
import type { LogFilter } from "./log-filter.ts";

const bucket = z
  .object({ key: z.string(), doc_count: z.int().nonnegative() })
  .meta({ id: "Bucket" });
const buckets = z.array(bucket);

export const logStatsSchema = z
  .object({
    total: z.int().nonnegative(),
    action_counts: buckets,
    severity_counts: buckets,
    resource_type_counts: buckets,
    user_counts: buckets,
    timeline: buckets.meta({
      description: "By created_at; a key is the beginning of its hour, day or month, in UTC.",
    }),
  })
  .meta({ id: "LogStats" });

export type LogStats = z.infer<typeof logStatsSchema>;

/** The most frequent values of a field that stats give. */
export const statsSize = 100;

const dayMs = 24 * 60 * 60 * 1000;

/** How fine a timeline is: at most about 100 buckets for the time that was asked for. */
export function timelineUnit(filter: Pick<LogFilter, "from" | "to">): "hour" | "day" | "month" {
  if (filter.from === null) return "month";
  const span = (filter.to ?? Date.now()) - filter.from;
  if (span <= 4 * dayMs) return "hour";
  return span <= 100 * dayMs ? "day" : "month";
}
