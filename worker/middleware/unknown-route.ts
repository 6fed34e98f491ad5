import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { ApiError } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { problemResponse } from "./errors.ts";

type Routes = { routes: { method: string; path: string }[] };

/**
 * 404 for a path that no route has, 405 with Allow for one that has other methods. Answered and not thrown:
 * an error from here would pass by what middleware does to answers.
 */
export function unknownRoute({ routes }: Routes) {
  return (c: Context<AppEnv>): Response => {
    const path = plainPath(c);
    const allowed = methodsOf(routes, (pattern) => pattern === path);
    const found =
      allowed.size > 0 ? allowed : methodsOf(routes, (pattern) => matches(pattern, path));
    const unknown = new ApiError("not_found", "There is nothing at this path.");
    return problemResponse(found.size === 0 ? unknown : notAllowed(found), c);
  };
}

/**
 * 405 for a path that a route names whole, before a route with a parameter takes its last part for an id:
 * `GET /logs/bulk` is not the log `bulk`.
 */
export function otherMethods({ routes }: Routes) {
  return createMiddleware<AppEnv>(async (c, next) => {
    const path = plainPath(c);
    const method = c.req.method === "HEAD" ? "GET" : c.req.method;
    const named = methodsOf(routes, (pattern) => pattern === path);
    if (named.size > 0 && !named.has(method)) throw notAllowed(named);
    await next();
  });
}

const plainPath = (c: Context<AppEnv>) => c.req.path.replace(/(?<=.)\/$/, "");

function methodsOf(routes: Routes["routes"], isMeant: (pattern: string) => boolean): Set<string> {
  const meant = routes.filter(({ method, path }) => method !== "ALL" && isMeant(path));
  return new Set(meant.map(({ method }) => method));
}

function notAllowed(allowed: ReadonlySet<string>): ApiError {
  const methods = [...allowed].join(", ");
  return new ApiError("method_not_allowed", `This path takes ${methods}.`, {
    headers: { Allow: methods },
  });
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split("/");
  const given = path.split("/");
  return (
    wanted.length === given.length &&
    wanted.every((part, n) => part.startsWith(":") || part === given[n])
  );
}
