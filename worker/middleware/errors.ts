import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import type { z } from "zod";
import { ApiError, type FieldProblem, problems, reasonOf } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";

/** Every error on its way out, as application/problem+json (RFC 9457). What is not an ApiError says only its request id. */
export function problemResponse(error: unknown, c: Context<AppEnv>): Response {
  const problem = asApiError(error);
  const { status, title } = problems[problem.code];
  c.var.event["code"] = problem.code;
  if (status >= 500) c.var.event["reason"] = reasonOf(problem.cause ?? error);
  return c.body(
    JSON.stringify({
      type: `urn:audit-log:problem:${problem.code}`,
      title,
      status,
      code: problem.code,
      detail: problem.message,
      request_id: c.var.requestId,
      ...(problem.errors ? { errors: problem.errors } : {}),
    }),
    status,
    {
      "Content-Type": "application/problem+json",
      "X-Request-Id": c.var.requestId,
      ...problem.headers,
    },
  );
}

function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof HTTPException && error.status === 400) {
    return new ApiError("malformed_json", "The body is not valid JSON.");
  }
  return new ApiError(
    "internal",
    "Something went wrong here. Give the request id to the service's operator.",
    { cause: error },
  );
}

type Target = "json" | "query" | "param" | string;
type ValidationResult = { target: Target; success: boolean; error?: z.ZodError };

/** What every validator of a route does with its result: all problems at once, each with its place. */
export function refuseInvalid(result: ValidationResult, c: Context<AppEnv>): undefined {
  const issues = result.error?.issues ?? [];
  const errors = issues.flatMap((issue) => fieldProblems(issue, result.target));
  // Zod drops a parameter of this name before a check of unknown ones could see it.
  const hasProto = result.target === "query" && c.req.query("__proto__") !== undefined;
  if (hasProto && errors.every(({ path }) => path !== "__proto__"))
    errors.push({ path: "__proto__", message: "is not a known parameter" });
  if (errors.length === 0) return undefined;
  throw new ApiError("validation_failed", "The request is not valid: see errors.", { errors });
}

function fieldProblems(issue: z.core.$ZodIssue, target: Target): FieldProblem[] {
  const place = target === "json" ? pointer : (path: PropertyKey[]) => path.map(String).join(".");
  if (issue.code !== "unrecognized_keys") {
    return [{ path: place(issue.path), message: plainMessage(issue.message) }];
  }
  const kind = target === "json" ? "field" : "parameter";
  return issue.keys.map((key) => ({
    path: place([...issue.path, key]),
    message: `is not a known ${kind}`,
  }));
}

/** A JSON Pointer (RFC 6901) to the place in the body. */
function pointer(path: PropertyKey[]): string {
  return path
    .map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("");
}

/** Zod's own words for a value of another type, as a sentence like all the others. */
function plainMessage(message: string): string {
  const [, expected, received] =
    /^Invalid input: expected (\w+), received (\w+)$/.exec(message) ?? [];
  if (expected === undefined) return message;
  return received === "undefined" ? "is required" : `must be of type ${expected}`;
}
