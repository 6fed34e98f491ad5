import { z } from "@hono/zod-openapi";

/** How many of something there are. */
export const count = (description: string, example: number) =>
  z
    .int()
    .nonnegative()
    .openapi({ description, examples: [example] });

/** A moment, as answers write it: RFC 3339 in UTC, with milliseconds. */
export const time = (description: string, example = "2026-01-31T09:30:00.250Z") =>
  z.iso.datetime().openapi({ description, examples: [example] });
