import { z } from "@hono/zod-openapi";
import { ApiError } from "../platform/errors.ts";
import { decodeCursor, encodeCursor } from "./logs/cursor.ts";

/** A parameter that is a number within bounds. */
export const wholeNumber = (description: string, fallback: number, least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, "must be a whole number")
    .transform(Number)
    .refine((n) => n >= least && n <= most, `must be from ${least} to ${most}`)
    .default(fallback)
    .openapi({
      type: "integer",
      minimum: least,
      maximum: most,
      default: fallback,
      description,
      examples: [fallback],
    });

/** What a list takes that is read page by page. @param cursorLength characters at most */
export const pageQuery = (cursorLength = 512) => ({
  page_size: wholeNumber("How many a page has, at most.", 10, 1, 100),
  cursor: z
    .string()
    .max(cursorLength)
    .optional()
    .openapi({ description: "`next_cursor` of the page before, as it was given." }),
});

/** The answer's cursor. */
export const nextCursor = z
  .string()
  .nullable()
  .openapi({
    description: "The next page's `cursor`; null on the last page.",
    examples: ["WzEsIjAxOWMxMzdlIiwtMSwwLCJleHBvcnRzIl0"],
  });

/** What a list answers with that is read page by page. */
export const pageOf = <T extends z.ZodType>(name: string, item: T) =>
  z
    .object({
      items: z.array(item).max(100).openapi({ description: "In the list's order." }),
      next_cursor: nextCursor,
    })
    .openapi(name, { description: "A page of a list." });

/**
 * A page of rows of which one more was read than it takes: that one tells whether there are more.
 *
 * @returns `last`: the row that the next page goes on behind; undefined where there is none
 */
export function cutPage<T>(rows: readonly T[], size: number): { page: T[]; last: T | undefined } {
  const page = rows.slice(0, size);
  return { page, last: rows.length > size ? page.at(-1) : undefined };
}

/** The cursor with which `idBehind` goes on behind a row; null where there is none. */
export function cursorBehind(last: { id: string } | undefined, kind: string): string | null {
  return last ? encodeCursor({ after: last.id, total: null }, kind) : null;
}

/**
 * The id to go on behind; null for the first page.
 *
 * @param kind of the list: the cursor of another one is refused
 * @throws ApiError `validation_failed`
 */
export function idBehind(cursor: string | undefined, kind: string): string | null {
  if (cursor === undefined) return null;
  const decoded = decodeCursor(cursor, kind);
  if (typeof decoded !== "string") return decoded.after;
  throw unusableCursor(decoded);
}

/** @param why what is wrong with the cursor, as a sentence */
export function unusableCursor(why: string): ApiError {
  return new ApiError("validation_failed", "The cursor cannot be used: see errors.", {
    errors: [{ path: "cursor", message: why }],
  });
}
