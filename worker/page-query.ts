import { z } from "@hono/zod-openapi";
import { ApiError } from "../platform/errors.ts";
import { decodeCursor } from "./logs/cursor.ts";

/** What a list takes that is read page by page. @param cursorLength characters at most */
export const pageQuery = (cursorLength = 512) => ({
  page_size: z
    .string()
    .regex(/^\d{1,3}$/, "must be a whole number")
    .transform(Number)
    .refine((n) => n >= 1 && n <= 100, "must be from 1 to 100")
    .default(10)
    .openapi({ type: "integer", minimum: 1, maximum: 100, default: 10 }),
  cursor: z
    .string()
    .max(cursorLength)
    .optional()
    .openapi({ description: "next_cursor of the page before." }),
});

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
  throw new ApiError("validation_failed", "The cursor cannot be used: see errors.", {
    errors: [{ path: "cursor", message: decoded }],
  });
}
