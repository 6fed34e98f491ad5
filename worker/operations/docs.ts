import type { Context } from "hono";
import { ApiError } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";

/** The page and its script run only what this service itself serves. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  // Swagger UI sets styles on elements, and shows icons as data: URLs.
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "frame-ancestors 'none'",
].join("; ");

/** The page to try the API with, and its parts: static assets beside the Worker. */
export async function docs(c: Context<AppEnv>): Promise<Response> {
  // The folder itself is its index.html.
  const file = encodeURIComponent(c.req.param("file") ?? "");
  const found = await c.env.ASSETS.fetch(new URL(`/${file}`, c.req.url));
  if (!found.ok) throw new ApiError("not_found", "There is nothing at this path.");
  return new Response(found.body, {
    headers: {
      "Content-Type": found.headers.get("Content-Type") ?? "application/octet-stream",
      "Content-Security-Policy": policy,
      "Cache-Control": "public, max-age=300",
    },
  });
}
