import { cors as corsOf } from "hono/cors";
import { createMiddleware } from "hono/factory";
import type { AppEnv } from "../env.ts";

/** What an allowed page may send and read. No credentials: a caller is known by its token, never by a cookie. */
const allow = corsOf({
  origin: (origin) => origin,
  allowMethods: ["GET", "POST", "PATCH", "DELETE"],
  allowHeaders: ["Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"],
  exposeHeaders: [
    "Allow",
    "Idempotency-Replayed",
    "Location",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
  ],
  maxAge: 3_600,
});

/**
 * Lets pages of the origins in ALLOWED_ORIGINS read answers, errors among them (the Fetch standard's CORS
 * protocol). For any other page an answer is as if there were no such thing: the browser keeps it.
 */
export const cors = createMiddleware<AppEnv>(async (c, next) => {
  const allowed = c.var.config.sections.origins?.allowed ?? [];
  if (allowed.includes(c.req.header("Origin") ?? "")) return allow(c, next);
  await next();
  // A cache must not give an allowed page the answer that was made for another.
  if (allowed.length > 0) c.header("Vary", "Origin", { append: true });
  return undefined;
});
