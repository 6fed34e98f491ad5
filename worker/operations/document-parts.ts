import type { ProblemCode } from "../../platform/errors.ts";
import { defaultRateTier, limitsOf } from "../limits/rate-limits.ts";

/** What the API's document says besides its routes. */
export const documentParts = {
  openapi: "3.1.0",
  info: {
    title: "Audit log service",
    version: "1",
    summary: "Keeps, finds and exports the audit logs of many tenants.",
    description: `
Every request but that of health needs a token: a JWT, or an API key that a tenant's admin has made. The
token says which tenant it is for, and with which roles: \`admin\`, \`auditor\`, \`writer\`, \`user\`, or
\`platform_admin\`, who runs the service and reads no log. \`x-roles\` of an operation has those that it takes.

A log that was answered with 201 is stored, and searchable within seconds. It is never changed.

Errors are \`application/problem+json\`; their \`code\` is made for programs. Repeat a request whose answer
was lost, and 429 and 5xx, with the same \`Idempotency-Key\`; never another 4xx. Unknown fields and parameters
are refused with 422. Answers may get new fields: pass over those that you do not know.

This page (\`/docs\`), this document (\`/openapi.json\`) and the metrics (\`/metrics\`, not under the base path,
with a token of their own) are no operations of the API.
`.trim(),
    license: { name: "Apache-2.0", identifier: "Apache-2.0" },
  },
  servers: [{ url: "/api/v1", description: "The host that serves this document." }],
  tags: [
    { name: "Logs", description: "Store audit logs, find them, and count them." },
    { name: "Exports", description: "Write audit logs to a file, however many." },
    { name: "Tenants", description: "Who has logs here, and by which settings." },
    { name: "API keys", description: "For a tenant's services that have no token issuer at hand." },
    { name: "Operations", description: "For who runs the service." },
  ],
};

/** By the names that a route's `security` has. */
export const securitySchemes = {
  token: {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
    description:
      "A JWT with `exp`, `sub`, `tenant_id`, and `role` or `roles`, signed as the service is configured.",
  },
  apiKey: {
    type: "http",
    scheme: "bearer",
    bearerFormat: "al_ and 43 characters",
    description: "A key that a tenant's admin has made: it is sent like a token, and has roles.",
  },
} as const;

/** On every answer. */
export const requestIdHeader = {
  description: "The request's id: what was sent, or a new one.",
  required: true,
  schema: {
    type: "string" as const,
    minLength: 1,
    maxLength: 128,
    pattern: "^[\\w.:/+=-]+$",
    examples: ["req-81"],
  },
};

/** On answers within a tenant that has limits. */
export const rateLimitHeader = {
  description: "The limits that the request was held against: `q` requests in `w` seconds.",
  required: false,
  schema: {
    type: "string" as const,
    examples: [limitsOf(defaultRateTier, "reads")?.header],
  },
};

/** Of every operation. What is not as the header above has it is passed over, so anything may be sent. */
export const requestIdParameter = {
  name: "X-Request-Id",
  in: "header" as const,
  required: false,
  description:
    "Your own id for the request: it is in the answer and in every log line of the request. Up to 128 of A-Z, a-z, 0-9 and _.:/+=-; any other is passed over.",
  schema: { type: "string" as const, examples: ["req-81"] },
};

type CommonProblem = { name: string; codes: [ProblemCode, ...ProblemCode[]]; forAll: boolean };

/** Errors that operations have without saying so: all of them, or those that take a token. */
export const commonProblems: readonly CommonProblem[] = [
  { name: "Unauthenticated", codes: ["unauthenticated"], forAll: false },
  {
    name: "Forbidden",
    codes: ["forbidden", "role_missing", "tenant_missing", "tenant_unknown", "tenant_suspended"],
    forAll: false,
  },
  { name: "RateLimited", codes: ["rate_limited"], forAll: false },
  { name: "Internal", codes: ["internal"], forAll: true },
  {
    name: "Unavailable",
    codes: [
      "database_unavailable",
      "queue_unavailable",
      "search_unavailable",
      "token_keys_unavailable",
      "misconfigured",
    ],
    forAll: false,
  },
];
