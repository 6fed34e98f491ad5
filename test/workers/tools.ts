import { createExecutionContext, env, SELF, waitOnExecutionContext } from "cloudflare:test";
import { SignJWT, type JWTPayload } from "jose";
import { inject } from "vitest";
import app from "./all-workers.ts";
import type { Target } from "../journeys/api.ts";
import { allRateLimits } from "../../worker/limits/rate-limits.ts";
import "../provided.ts";

export const workerEnv = inject("workerEnv");
export const searchMissing = inject("searchMissing");

/** A token of the tests' issuer; claims may be replaced, and left out with undefined. */
export function token(
  claims: JWTPayload = {},
  secret = workerEnv["JWT_SECRET"] ?? "",
): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const payload = {
    tenant_id: "acme",
    role: "admin",
    sub: "alice",
    iat: now,
    exp: now + 3600,
    ...claims,
  };
  return new SignJWT(payload)
    .setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(secret));
}

/** The Worker as it is configured for the run. */
export const workers: Target = {
  fetch: (path, init) => SELF.fetch(`http://audit${path}`, init),
  token,
};

/** The Worker with some variables changed. What it does after the answer is over when the answer is read. */
export function workersWith(changes: Record<string, unknown>): Target {
  const changed = { ...env, ...changes };
  return {
    token,
    async fetch(path, init) {
      const context = createExecutionContext();
      const response = await app.fetch(new Request(`http://audit${path}`, init), changed, context);
      await waitOnExecutionContext(context);
      return response;
    },
  };
}

/** What takes the rate limits away, for tests that send more at once than a client should. */
export const withoutLimits = Object.fromEntries(allRateLimits().map(([name]) => [name, undefined]));

/** Nothing listens here: every connection is refused at once. */
export const nowhere = "http://127.0.0.1:9";
