import { z } from "@hono/zod-openapi";
import type { TenantRow } from "../../db/tenants.ts";
import { time } from "../answer-fields.ts";

const daysMessage = "must be a whole number of days from 1 to 36500, or null";

/** What a platform admin may set. */
export const retentionChanges = {
  retention_days: z
    .int(daysMessage)
    .min(1, daysMessage)
    .max(36_500, daysMessage)
    .nullable()
    .openapi({
      description:
        "How many days logs are kept. A longer time holds at once, a shorter one after 7 days. Null: back to the default, by which only a cleanup that is asked for removes logs.",
      examples: [365],
    }),
  legal_hold: z
    .boolean("must be true or false")
    .openapi({ description: "While it is true, no log is removed.", examples: [true] }),
};

export const retentionShape = {
  retention_days: z.int().openapi({
    description: "How many days logs are kept: what was set last, or the default.",
    examples: [90],
  }),
  retention_is_default: z.boolean().openapi({
    description: "Whether nothing was set: then logs go only by a cleanup that is asked for.",
    examples: [true],
  }),
  retention_takes_effect_at: time(
    "When retention_days begins to hold, where it is shorter than before. Null: it does.",
    "2026-02-07T09:30:00.250Z",
  ).nullable(),
  retention_days_until_then: z
    .int()
    .nullable()
    .openapi({
      description: "What holds until then for a cleanup that is asked for.",
      examples: [365],
    }),
  legal_hold: z
    .boolean()
    .openapi({ description: "While it is true, no log is removed.", examples: [false] }),
};

/** As kept_days() of the database has it. */
export function retentionAnswer(row: TenantRow, defaultDays: number) {
  const { retentionDays, retentionDaysBefore, retentionTakesEffectAt: at } = row;
  const days = retentionDays ?? defaultDays;
  const isPending = at !== null && at.getTime() > Date.now();
  return {
    retention_days: days,
    retention_is_default: retentionDays === null,
    retention_takes_effect_at: isPending ? at.toISOString() : null,
    retention_days_until_then: isPending
      ? Math.max(days, retentionDaysBefore ?? defaultDays)
      : null,
    legal_hold: row.legalHold,
  };
}
