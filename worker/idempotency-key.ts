import { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { compareMac, type IdempotencyKey } from "../events/idempotency-key.ts";
import { requireSection } from "../platform/config.ts";
import { ApiError } from "../platform/errors.ts";
import type { AppEnv } from "./env.ts";

/** The request headers of a route that may be named to be done once. */
export const idempotencyHeaders = z.object({
  "Idempotency-Key": z
    .string()
    .min(1, "must not be empty")
    .max(255, "must be at most 255 characters")
    .optional()
    .openapi({
      description:
        "Your own name for this request. Sent again by the same caller within 24 hours with the same body, it is not done again: the answer is the first one's.",
      example: "5f0c7b1e-order-42",
    }),
});

/** The answer's header. */
export const replayedHeader = {
  "Idempotency-Replayed": z
    .literal("true")
    .optional()
    .openapi({ description: "The answer is an earlier request's with the same key." }),
};

/**
 * The key that the request names, if it does.
 *
 * @param path the route's, with its parameters filled in
 */
export async function idempotencyKeyOf(
  c: Context<AppEnv>,
  path: string,
): Promise<IdempotencyKey | undefined> {
  const key = c.req.header("Idempotency-Key");
  if (key === undefined) return undefined;
  const { caller, config } = c.var;
  const { hashSecret } = requireSection(config, "masking");
  const body = await c.req.text();
  return {
    sub: caller.sub,
    scope: `${c.req.method} ${path}`,
    key,
    bodyMac: compareMac("request", caller.tenantId, body, hashSecret),
  };
}

export const keyReused = (): ApiError =>
  new ApiError(
    "idempotency_key_reused",
    "This Idempotency-Key was used with another body in the last 24 hours. Send a new key.",
  );

export const stillRunning = (): ApiError =>
  new ApiError(
    "request_in_progress",
    "A request with the same Idempotency-Key or event_id is still running. Send the same again soon.",
    { headers: { "Retry-After": "2" } },
  );
