import type { Context, MiddlewareHandler } from "hono";
import { createMiddleware } from "hono/factory";
import { touchApiKey } from "../../db/api-keys.ts";
import { connectDatabase } from "../../db/client.ts";
import { maskHash } from "../../events/mask-hash.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { ApiError, reasonOf } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { limitKeyLookups } from "../limits/limit-key-lookups.ts";
import { learnTier } from "../limits/known-tiers.ts";
import { authenticate } from "./authenticate.ts";
import type { Bearer, Caller, Role, TenantRole } from "./caller.ts";
import { isToTouch } from "./verify-key.ts";

/**
 * Who may call a route: callers with one of these roles within their tenant; or platform admins, who belong to
 * no tenant; or platform admins and the admin of the tenant that the path names; or that one alone, with a
 * token; or anyone, without a token.
 */
export type Access =
  | readonly [TenantRole, ...TenantRole[]]
  | "platform admin"
  | "tenant admin"
  | "own admin"
  | "anyone";

/** The roles that may create logs, and those that may read them: the `user` role within its own name. */
export const writers = ["admin", "writer", "user"] as const;
export const readers = ["admin", "auditor", "user"] as const;
export const auditors = ["admin", "auditor"] as const;

/** The one place that holds a caller against a route's access: a middleware that lets through who may. */
export function gateOf(access: Access): MiddlewareHandler<AppEnv> {
  switch (access) {
    case "platform admin":
      return requirePlatformAdmin;
    case "tenant admin":
      return requireTenantAdmin;
    case "own admin":
      return requireOwnAdmin;
    case "anyone":
      return requireNothing;
    default:
      return requireRole(access);
  }
}

/** The roles that a route's access names. */
export function rolesOf(access: Access): readonly Role[] {
  switch (access) {
    case "platform admin":
      return ["platform_admin"];
    case "tenant admin":
      return ["platform_admin", "admin"];
    case "own admin":
      return ["admin"];
    case "anyone":
      return [];
    default:
      return access;
  }
}

/** Whether a caller of the route can be one of a tenant: then it takes from what the tenant may ask for. */
export function isInTenant(access: Access): boolean {
  return access !== "anyone" && access !== "platform admin";
}

const requireNothing = createMiddleware<AppEnv>((_, next) => next());

/** Sets `caller`. */
function requireRole(allowed: readonly TenantRole[]) {
  return createMiddleware<AppEnv>(async (c, next) => {
    const bearer = await bearerOf(c);
    if (!allowed.some((role) => bearer.roles.has(role))) throw forbidden(allowed);
    c.set("caller", inTenant(bearer, c.var.config));
    await next();
  });
}

/** Sets no `caller`: a platform admin belongs to no tenant. */
const requirePlatformAdmin = createMiddleware<AppEnv>(async (c, next) => {
  const bearer = await bearerOf(c);
  if (!bearer.roles.has("platform_admin")) throw forbidden(["platform_admin"]);
  await next();
});

/** Sets `tenantAdmin` for the tenant's own. Another's learns nothing of whether there is such a tenant. */
const requireTenantAdmin = createMiddleware<AppEnv>(async (c, next) => {
  const bearer = await bearerOf(c);
  if (bearer.roles.has("platform_admin")) {
    c.set("tenantAdmin", null);
  } else if (bearer.roles.has("admin")) {
    const admin = inTenant(bearer, c.var.config);
    if (admin.tenantId !== c.req.param("tenant_id")) throw noSuchTenant();
    c.set("tenantAdmin", admin);
  } else {
    throw forbidden(["platform_admin", "admin"]);
  }
  await next();
});

/** With a token: who has got hold of a key must not be able to make others that outlive it. Sets `caller`. */
const requireOwnAdmin = createMiddleware<AppEnv>(async (c, next) => {
  const bearer = await bearerOf(c);
  if (!bearer.roles.has("admin")) throw forbidden(["admin"]);
  if (bearer.isKey)
    throw new ApiError("forbidden", "This needs a token: an API key manages no keys.");
  const admin = inTenant(bearer, c.var.config);
  if (admin.tenantId !== c.req.param("tenant_id")) throw noSuchTenant();
  c.set("caller", admin);
  await next();
});

async function bearerOf(c: Context<AppEnv>): Promise<Bearer> {
  const { config, logger, event } = c.var;
  const bearer = await authenticate(c.req.header("Authorization"), config, logger, () =>
    limitKeyLookups(c),
  );
  Object.assign(event, { tenant_id: bearer.tenantId, sub: bearer.sub });
  c.set("actor", { sub: bearer.sub, isKey: bearer.isKey });
  if (bearer.isKey) {
    event["actor"] = "api_key";
    if (isToTouch(bearer.sub)) c.executionCtx.waitUntil(noteUse(c, bearer));
  }
  return bearer;
}

/** Beside the request, which does not wait for it. */
async function noteUse(c: Context<AppEnv>, { tenantId = "", sub: id }: Bearer): Promise<void> {
  try {
    await touchApiKey(connectDatabase(requireSection(c.var.config, "database")), tenantId, id);
  } catch (error) {
    c.var.logger.warning("key_use_not_noted", { key_id: id, reason: reasonOf(error) });
  }
}

function inTenant({ tenantId, sub, roles, issuedAt }: Bearer, config: Config): Caller {
  if (tenantId === undefined)
    throw new ApiError("tenant_missing", "The token needs a tenant_id claim.");
  const mustBeKnown = !requireSection(config, "tenants").autoCreate;
  const secret = config.sections.masking?.hashSecret;
  // Only that role is held to its own name: all others need not wait for a hash.
  const isNeeded = roles.has("user") && secret !== undefined;
  const subHash = isNeeded ? maskHash(sub, tenantId, secret) : null;
  const onRateTier = (tier: string | null) => learnTier(tenantId, tier);
  return { tenantId, sub, subHash, roles, admission: { issuedAt, mustBeKnown, onRateTier } };
}

function forbidden(allowed: readonly string[]): ApiError {
  return new ApiError("forbidden", `This needs one of the roles ${allowed.join(", ")}.`);
}

export function noSuchTenant(): ApiError {
  return new ApiError("not_found", "There is no tenant of this id.");
}
