import { z } from "@hono/zod-openapi";
import type { MiddlewareHandler } from "hono";
import type { AppEnv } from "../env.ts";
import { problemAnswers } from "../problem-answers.ts";
import { limitRate } from "./limit-rate.ts";
import { limitsOf, type RequestKind, windowSeconds } from "./rate-limits.ts";

const headers = z.object({
  "Retry-After": z.string().openapi({
    description: "Seconds to wait.",
    example: String(windowSeconds),
  }),
  "RateLimit-Policy": z.string().openapi({
    description: "The limits that the request was held against.",
    example: limitsOf("standard", "reads")?.header,
  }),
});

/**
 * What a route within a tenant has behind its gate: the limits of its caller and its tenant, and what the
 * document says of them. A platform admin that the gate let through is of no tenant, and is not limited.
 */
export function rateLimit(kind: RequestKind) {
  const middleware: MiddlewareHandler<AppEnv>[] = [
    async (c, next) => {
      const caller = c.var.caller ?? c.var.tenantAdmin;
      const isOver = caller && (await limitRate(c, caller, kind));
      try {
        await next();
      } finally {
        isOver?.();
      }
    },
  ];
  return { middleware, answers: { 429: { ...problemAnswers(429)[429], headers } } };
}
