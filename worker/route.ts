// oxlint-disable-next-line no-restricted-imports -- The one place that makes routes.
import { createRoute, type OpenAPIHono, type RouteConfig } from "@hono/zod-openapi";
import type { MiddlewareHandler } from "hono";
import { type Access, gateOf, isInTenant, rolesOf } from "./auth/access.ts";
import type { AppEnv } from "./env.ts";
import type { RequestKind } from "./limits/rate-limits.ts";
import { rateLimit } from "./limits/rate-limit.ts";

type Declaration<P extends string> = Omit<RouteConfig, "path" | "security" | "middleware"> & {
  path: P;
  /** Comes before anything else that the route does. */
  access: Access;
  /** Says more to a caller with a token, where anyone may call it. */
  moreForCallers?: true;
  /** What it counts as for the rate limits of its tenant; a GET is a read else, and all other methods are writes. */
  countsAs?: RequestKind;
  /** What comes between the gate and the validators, such as jsonBody. */
  middleware?: MiddlewareHandler<AppEnv>[];
};

/** Every gate that a route got: see refuseUndeclared. */
const gates = new WeakSet<object>();

/** A route, with who may call it: without that it does not compile. */
export function declareRoute<P extends string, R extends Declaration<P>>(declared: R) {
  const { access, moreForCallers = false, countsAs, middleware = [], ...rest } = declared;
  const kind = countsAs ?? (declared.method === "get" ? "reads" : "writes");
  const limits = isInTenant(access) ? [rateLimit(kind)] : [];
  const route = {
    ...rest,
    security: moreForCallers ? [{}, ...anyToken] : securityOf(access),
    "x-roles": rolesOf(access),
    middleware: [gate(access), ...limits, ...middleware],
  };
  // The type of what was declared is what handlers are checked against: the spread forgets it.
  return createRoute<P, R>(route as unknown as R);
}

/** The gate of a route that the document does not have. */
export function gate(access: Access): MiddlewareHandler<AppEnv> {
  const made = gateOf(access);
  gates.add(made);
  return made;
}

const anyToken = [{ token: [] }, { apiKey: [] }];

/** By the names of the OpenAPI document. An API key has no way to what platform admins do, nor to keys. */
function securityOf(access: Access): Record<string, string[]>[] {
  if (access === "anyone") return [];
  return access === "platform admin" || access === "own admin" ? [{ token: [] }] : anyToken;
}

/**
 * Ends the start of the Worker where a route was added that says nothing of who may call it.
 *
 * @throws Error that names the routes
 */
export function refuseUndeclared({ routes }: Pick<OpenAPIHono<AppEnv>, "routes">): void {
  const nameOf = ({ method, path }: { method: string; path: string }) => `${method} ${path}`;
  const declared = new Set(routes.filter(({ handler }) => gates.has(handler)).map(nameOf));
  const open = routes.filter((route) => route.method !== "ALL" && !declared.has(nameOf(route)));
  if (open.length === 0) return;
  const names = [...new Set(open.map(nameOf))].join(", ");
  throw new Error(`Say who may call it, by declareRoute() or gate(): ${names}`);
}
