import type { Context } from "hono";
import { ApiError } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { problemResponse } from "./errors.ts";

type Routes = { routes: { method: string; path: string }[] };

/**
 * 404 for a path that no route has, 405 with Allow for one that has other methods. Answered and not thrown:
 * an error from here would pass by what middleware does to answers.
 */
export function unknownRoute(app: Routes) {
  return (c: Context<AppEnv>): Response => {
    const path = c.req.path.replace(/(?<=.)\/$/, "");
    const allowed = app.routes
      .filter((route) => route.method !== "ALL" && matches(route.path, path))
      .map((route) => route.method);
    if (allowed.length === 0)
      return problemResponse(new ApiError("not_found", "There is nothing at this path."), c);
    const methods = [...new Set(allowed)].join(", ");
    const refused = new ApiError("method_not_allowed", `This path takes ${methods}.`, {
      headers: { Allow: methods },
    });
    return problemResponse(refused, c);
  };
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split("/");
  const given = path.split("/");
  return (
    wanted.length === given.length &&
    wanted.every((part, n) => part.startsWith(":") || part === given[n])
  );
}
