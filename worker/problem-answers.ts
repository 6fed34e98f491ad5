import { z } from "@hono/zod-openapi";
import { type ProblemCode, problems } from "../platform/errors.ts";

const problem = z
  .object({
    type: z.string().openapi({
      description: "A name for this kind of error, the same each time.",
      examples: ["urn:audit-log:problem:validation_failed"],
    }),
    title: z.string().openapi({
      description: "The kind of error, for a person.",
      examples: [problems.validation_failed.title],
    }),
    status: z
      .int()
      .min(400)
      .max(599)
      .openapi({ description: "The HTTP status.", examples: [422] }),
    code: z
      .enum(Object.keys(problems) as [ProblemCode, ...ProblemCode[]])
      .openapi({ description: "Made for programs, and stable.", examples: ["validation_failed"] }),
    detail: z.string().openapi({
      description: "What is wrong this time and what to do about it, for a person.",
      examples: ["The request is not valid: see errors."],
    }),
    request_id: z.string().openapi({
      description: "The answer's X-Request-Id. The service's operator finds the request by it.",
      examples: ["5f0c7b1e-3d51-4b0a-9f43-0d2c2a1e8a57"],
    }),
    errors: z
      .array(
        z.object({
          path: z.string().openapi({
            description: "A JSON Pointer into the body, or a parameter's name.",
            examples: ["/logs/3/action"],
          }),
          message: z.string().openapi({
            description: "What is wrong there.",
            examples: ["must not be empty"],
          }),
        }),
      )
      .optional()
      .openapi({ description: "Every part of the request that is wrong, where some are." }),
  })
  .openapi("Problem", { description: "An error (RFC 9457)." });

type Status = (typeof problems)[ProblemCode]["status"];
type StatusOf<C extends ProblemCode> = (typeof problems)[C]["status"];

/** What a route with a JSON body can say of it. */
export const bodyProblems = [
  "malformed_json",
  "request_timeout",
  "too_large",
  "unsupported_media_type",
  "validation_failed",
] as const satisfies ProblemCode[];

/**
 * The errors that a route can answer with of its own, for the OpenAPI document. Those of every route, and of
 * every route that needs a token, are added to it by commonProblems.
 */
export function problemAnswers<const C extends ProblemCode>(...codes: C[]) {
  const statuses = [...new Set(codes.map((code): Status => problems[code].status))];
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      problemAnswer(codes.filter((code) => problems[code].status === status)),
    ]),
  ) as Record<StatusOf<C>, ReturnType<typeof problemAnswer>>;
}

/** An answer that has one of the codes, which are of one status. */
export function problemAnswer(codes: readonly ProblemCode[]) {
  return {
    description: `${codes.map((code) => problems[code].title).join(", or: ")}.`,
    headers: Object.assign({}, ...codes.map((code) => headersOf(code, codes))),
    content: {
      "application/problem+json": {
        schema: problem,
        examples: Object.fromEntries(codes.map((code) => [code, { value: exampleOf(code) }])),
      },
    },
  };
}

/** Headers that come with a code: not required where another code of the same status comes without. */
function headersOf(code: ProblemCode, codes: readonly ProblemCode[]) {
  const { status } = problems[code];
  const retryAfter = (seconds: string) => ({
    "Retry-After": {
      description: "Seconds after which to try again.",
      required: status !== 409 || codes.length === 1,
      schema: { type: "integer" as const, minimum: 0, examples: [Number(seconds)] },
    },
  });
  if (status === 503) return retryAfter("5");
  if (status === 429) return retryAfter("10");
  if (code === "request_in_progress") return retryAfter("2");
  if (code === "api_key_already_made") {
    const schema = {
      type: "string" as const,
      examples: ["/api/v1/tenants/acme/keys/019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"],
    };
    const description = "With `api_key_already_made`: the path of the key, by which it is revoked.";
    return { Location: { description, required: false, schema } };
  }
  if (status === 401) {
    const schema = { type: "string" as const, examples: ['Bearer error="invalid_token"'] };
    const description = "How to sign in, and what was wrong with the token.";
    return { "WWW-Authenticate": { description, required: true, schema } };
  }
  return {};
}

function exampleOf(code: ProblemCode): z.infer<typeof problem> {
  const { status, title } = problems[code];
  return {
    type: `urn:audit-log:problem:${code}`,
    title,
    status,
    code,
    detail: code === "validation_failed" ? "The request is not valid: see errors." : `${title}.`,
    request_id: "5f0c7b1e-3d51-4b0a-9f43-0d2c2a1e8a57",
    ...(code === "validation_failed"
      ? { errors: [{ path: "/action", message: "must not be empty" }] }
      : {}),
  };
}
