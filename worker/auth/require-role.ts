import { createMiddleware } from "hono/factory";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import type { Bearer, Caller, TenantRole } from "./caller.ts";
import { verifyToken } from "./verify-token.ts";

/**
 * Lets a request through that carries a valid token with one of the roles. Behind a role within a tenant
 * `caller` is set from here on. Behind `platform_admin` it is not: a platform admin belongs to no tenant.
 */
export function requireRole(...allowed: ["platform_admin"] | [TenantRole, ...TenantRole[]]) {
  const isForPlatform = allowed[0] === "platform_admin";
  return createMiddleware<AppEnv>(async (c, next) => {
    const config = requireSection(c.var.config, "tokens");
    const bearer = await verifyToken(c.req.header("Authorization"), config, c.var.logger);
    Object.assign(c.var.event, { tenant_id: bearer.tenantId, sub: bearer.sub });
    if (!allowed.some((role) => bearer.roles.has(role))) {
      throw new ApiError("forbidden", `This needs one of the roles ${allowed.join(", ")}.`);
    }
    if (!isForPlatform) c.set("caller", inTenant(bearer));
    await next();
  });
}

function inTenant({ tenantId, ...bearer }: Bearer): Caller {
  if (tenantId === undefined)
    throw new ApiError("tenant_missing", "The token needs a tenant_id claim.");
  return { tenantId, ...bearer };
}

/** The roles that may create logs, and those that may read them: the `user` role within its own name. */
export const writers = ["admin", "writer", "user"] as const satisfies TenantRole[];
export const readers = ["admin", "auditor", "user"] as const satisfies TenantRole[];
export const auditors = ["admin", "auditor"] as const satisfies TenantRole[];
