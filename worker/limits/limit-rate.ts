import { createHash } from "node:crypto";
import type { Context } from "hono";
import { ApiError, reasonOf } from "../../platform/errors.ts";
import { keepRecent } from "../../platform/keep-recent.ts";
import { within } from "../../platform/within.ts";
import type { Caller } from "../auth/caller.ts";
import type { AppEnv } from "../env.ts";
import { knownTier } from "./known-tiers.ts";
import { takePlace } from "./places.ts";
import { limitsOf, type RateLimitBinding, type RequestKind, windowSeconds } from "./rate-limits.ts";
import { takeTokens } from "./tokens.ts";

/** The platform counts in memory; where it does not answer at once, the request goes on. */
const timeoutMs = 250;
/** Hashes of names: a flood has the same ones with each request. */
const keys = new Map<string, string>();
const maxKeys = 1_000;
/** Environments of which a missing binding was reported. */
const reported = new WeakSet<object>();

/**
 * Counts a request against the limits of its caller and its tenant, by the tier that the tenant is in, and
 * says them in RateLimit-Policy. To be called once it is known who calls and that it is allowed, and before
 * anything that costs: the body is not read yet, and no store was asked.
 *
 * @returns what is to be called when the request is over
 * @throws ApiError `rate_limited`
 */
export async function limitRate(
  c: Context<AppEnv>,
  { tenantId, sub }: Pick<Caller, "tenantId" | "sub">,
  kind: RequestKind,
): Promise<() => void> {
  const limits = limitsOf(knownTier(tenantId), kind);
  if (!limits) return () => {};
  const missing = limits.policies.find(({ binding }) => !c.env[binding]);
  if (missing) {
    reportMissing(c, missing.binding);
    return () => {};
  }
  c.header("RateLimit-Policy", limits.header);
  // The isolate's own bounds first: what is refused here takes nothing from the window.
  const release = takePlace(`${kind} ${tenantId}`, limits.atOnce);
  if (!release) {
    c.var.event["limit"] = `at-once-${kind}`;
    throw rateLimited(
      `More than ${limits.atOnce} ${kind} of this tenant are under way. Send fewer at the same time.`,
      1,
    );
  }
  const policies = limits.policies.map(({ counted, ...policy }) => ({
    ...policy,
    name: `${counted}-${kind}`,
    whose: `${kind} of this ${counted}`,
    key: keyOf(counted === "caller" ? [tenantId, sub] : [tenantId]),
  }));
  const early = takeTokens(
    policies.flatMap(({ pace, key, ...policy }) =>
      pace ? { ...policy, ...pace, key: `${kind} ${key}` } : [],
    ),
  );
  if (early) {
    release();
    const { name, limit, whose } = early.empty;
    c.var.event["limit"] = `pace-${name}`;
    throw rateLimited(
      `The ${limit} ${whose} in ${windowSeconds} seconds are let through evenly, and this came too soon. Wait, then go on more slowly.`,
      early.afterSeconds,
    );
  }
  for (const { name, limit, whose, binding, key } of policies) {
    if (await isWithin(c, binding, key)) continue;
    release();
    c.var.event["limit"] = name;
    throw rateLimited(
      `There were more than ${limit} ${whose} in ${windowSeconds} seconds. Wait, then go on more slowly.`,
    );
  }
  return release;
}

/** Whether there is room for one more. A limiter that is missing or broken stops nobody. */
export async function isWithin(
  c: Context<AppEnv>,
  binding: RateLimitBinding,
  key: string,
): Promise<boolean> {
  const limiter = c.env[binding];
  if (!limiter) {
    reportMissing(c, binding);
    return true;
  }
  try {
    return (await within(timeoutMs, limiter.limit({ key }))).success;
  } catch (error) {
    c.var.logger.warning("rate_limit_failed", { binding, reason: reasonOf(error) });
    return true;
  }
}

/** Once for each isolate. */
function reportMissing(c: Context<AppEnv>, binding: RateLimitBinding): void {
  if (!reported.has(c.env)) c.var.logger.warning("rate_limits_missing", { binding });
  reported.add(c.env);
}

/** The platform does not tell when the window ends: after a whole one there is room for certain. */
export function rateLimited(detail: string, afterSeconds = windowSeconds): ApiError {
  const headers = { "Retry-After": String(afterSeconds) };
  return new ApiError("rate_limited", detail, { headers });
}

/** Names are of any length, and may be addresses of people: the platform gets neither. */
function keyOf(names: string[]): string {
  const text = JSON.stringify(names);
  const known = keys.get(text);
  if (known !== undefined) return known;
  const key = createHash("sha256").update(text).digest("base64url");
  keepRecent(keys, text, key, maxKeys);
  return key;
}
