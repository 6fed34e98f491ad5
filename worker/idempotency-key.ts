import { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { compareMac, type IdempotencyKey } from "../events/idempotency-key.ts";
import { requireSection } from "../platform/config.ts";
import { ApiError, type ProblemCode } from "../platform/errors.ts";
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
      examples: ["5f0c7b1e-order-42"],
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
  return key === undefined ? undefined : newKey(c, path, key, c.var.caller.tenantId);
}

/**
 * The same; where the request names none, one that no other request has.
 *
 * @param tenantId whose key it is: the caller's tenant, or platformKeys
 */
export async function keyOrOwn(
  c: Context<AppEnv>,
  path: string,
  tenantId = c.var.caller.tenantId,
): Promise<IdempotencyKey> {
  const key = c.req.header("Idempotency-Key") ?? crypto.randomUUID();
  return newKey(c, path, key, tenantId);
}

async function newKey(
  c: Context<AppEnv>,
  path: string,
  key: string,
  tenantId: string,
): Promise<IdempotencyKey> {
  const { actor, config } = c.var;
  const { hashSecret } = requireSection(config, "masking");
  const bodyMac = compareMac("request", tenantId, await c.req.text(), hashSecret);
  return { sub: actor.sub, scope: `${c.req.method} ${path}`, key, bodyMac };
}

/** What a route that takes a key can answer with because of it. */
export const keyProblems = [
  "idempotency_key_reused",
  "request_in_progress",
] as const satisfies ProblemCode[];

/** Why a request under a key was not done, as its client is told. */
export function refuseUndone(outcome: "other body" | "in progress"): ApiError {
  if (outcome === "other body")
    return new ApiError(
      "idempotency_key_reused",
      "This Idempotency-Key was used with another body in the last 24 hours. Send a new key.",
    );
  return new ApiError(
    "request_in_progress",
    "A request with the same Idempotency-Key or event_id is still running. Send the same again soon.",
    { headers: { "Retry-After": "2" } },
  );
}
