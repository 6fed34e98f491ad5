import { createMiddleware } from "hono/factory";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import type { Role } from "./caller.ts";
import { verifyToken } from "./verify-token.ts";

/** Lets a request through that carries a valid token with one of the roles. `caller` is set from here on. */
export function requireRole(...allowed: [Role, ...Role[]]) {
  return createMiddleware<AppEnv>(async (c, next) => {
    const config = requireSection(c.var.config, "tokens");
    const caller = await verifyToken(c.req.header("Authorization"), config);
    c.set("caller", caller);
    Object.assign(c.var.event, { tenant_id: caller.tenantId, sub: caller.sub });
    if (!allowed.some((role) => caller.roles.has(role))) {
      throw new ApiError("forbidden", `This needs one of the roles ${allowed.join(", ")}.`);
    }
    await next();
  });
}

/** The roles that may create logs, and those that may read them: the `user` role within its own name. */
export const writers = ["admin", "writer", "user"] as const satisfies Role[];
export const readers = ["admin", "auditor", "user"] as const satisfies Role[];
export const auditors = ["admin", "auditor"] as const satisfies Role[];
