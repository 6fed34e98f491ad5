import type { Context, TypedResponse } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { JSONParsed } from "hono/utils/types";

/**
 * An answer whose JSON text is ready: objects of callers go into it without being parsed, so that every
 * digit survives. `T` says what the text holds; the tests check that answers fit their schemas.
 */
export function jsonText<T, Status extends ContentfulStatusCode>(
  c: Context,
  text: string,
  status: Status,
): Response & TypedResponse<JSONParsed<T>, Status, "json"> {
  const response: Response = c.body(text, status, { "Content-Type": "application/json" });
  return response as Response & TypedResponse<JSONParsed<T>, Status, "json">;
}
