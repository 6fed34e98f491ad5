import { createMiddleware } from "hono/factory";
import type { AppEnv } from "../env.ts";

/** On every answer. Headers for browsers: other clients pass over them. */
const always = {
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  // No page may embed an answer. Pages that ALLOWED_ORIGINS names read answers by CORS, which this is not about.
  "Cross-Origin-Resource-Policy": "same-origin",
};

/** On answers that say nothing else; the docs page does. */
const unlessSet = {
  "Cache-Control": "no-store",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
};

/** A year. Not for subdomains: those of the operator's own domain are not this service's to decide about. */
const transportSecurity = "max-age=31536000";

/** What a browser may do with an answer, whatever it is: a result, an error, or that there is no such path. */
export const securityHeaders = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  // Not by c.header(), which makes a new answer for each.
  const { headers } = c.res;
  for (const [name, value] of Object.entries(always)) headers.set(name, value);
  for (const [name, value] of Object.entries(unlessSet))
    if (!headers.has(name)) headers.set(name, value);
  if (c.req.url.startsWith("https:")) headers.set("Strict-Transport-Security", transportSecurity);
});
