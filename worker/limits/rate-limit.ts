import { createMiddleware } from "hono/factory";
import type { AppEnv } from "../env.ts";
import { limitRate } from "./limit-rate.ts";
import type { RequestKind } from "./rate-limits.ts";

/**
 * What a route within a tenant has behind its gate: the limits of its caller and its tenant. A platform admin
 * that the gate let through is of no tenant, and is not limited.
 */
export function rateLimit(kind: RequestKind) {
  return createMiddleware<AppEnv>(async (c, next) => {
    const caller = c.var.caller ?? c.var.tenantAdmin;
    const isOver = caller && (await limitRate(c, caller, kind));
    try {
      await next();
    } finally {
      isOver?.();
    }
  });
}
