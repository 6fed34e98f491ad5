import { createHash, timingSafeEqual } from "node:crypto";
import type { Context } from "hono";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { theSnapshot } from "./metrics-snapshot.ts";

/** GET /metrics, for a scraper: behind a token of its own, and not under the API's path. */
export async function metrics(c: Context<AppEnv>): Promise<Response> {
  const { token } = requireSection(c.var.config, "metrics");
  if (token === undefined)
    throw new ApiError("misconfigured", "METRICS_TOKEN is not set: there are no metrics.");
  const sent = /^Bearer (.+)$/i.exec(c.req.header("Authorization") ?? "")?.[1];
  if (sent === undefined || !isSame(sent, token)) {
    throw new ApiError(
      "unauthenticated",
      "Send the metrics token: Authorization: Bearer <token>.",
      {
        headers: {
          "WWW-Authenticate": sent === undefined ? "Bearer" : 'Bearer error="invalid_token"',
        },
      },
    );
  }
  const text = await c.env.METRICS.getByName(theSnapshot).scrape();
  return c.body(text, 200, { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" });
}

/** In a time that tells nothing of how much of it is right. */
function isSame(sent: string, token: string): boolean {
  const [one, other] = [sent, token].map((text) => createHash("sha256").update(text).digest());
  return one !== undefined && other !== undefined && timingSafeEqual(one, other);
}
