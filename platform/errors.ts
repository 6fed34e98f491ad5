/** Every code a client can meet, with its HTTP status and title. The only place that maps one to the other. */
export const problems = {
  malformed_json: { status: 400, title: "The body is not valid JSON" },
  unauthenticated: { status: 401, title: "A valid token is required" },
  role_missing: { status: 403, title: "The token has no role" },
  forbidden: { status: 403, title: "The token's role does not allow this" },
  tenant_missing: { status: 403, title: "The token names no tenant" },
  tenant_unknown: { status: 403, title: "The tenant is not known here" },
  tenant_suspended: { status: 403, title: "The tenant is suspended" },
  not_found: { status: 404, title: "Not found" },
  method_not_allowed: { status: 405, title: "The method is not allowed here" },
  request_timeout: { status: 408, title: "The body did not come in time" },
  conflict: { status: 409, title: "Not possible in the present state" },
  request_in_progress: { status: 409, title: "The same request is still running" },
  legal_hold: { status: 409, title: "The tenant is under a legal hold" },
  api_key_already_made: { status: 409, title: "The API key was made and shown before" },
  event_id_reused: { status: 409, title: "The event_id was used with other content" },
  too_large: { status: 413, title: "The body is too large" },
  unsupported_media_type: { status: 415, title: "The body must be JSON" },
  validation_failed: { status: 422, title: "The request is not valid" },
  idempotency_key_reused: { status: 422, title: "The idempotency key was used with another body" },
  rate_limited: { status: 429, title: "There were too many requests" },
  internal: { status: 500, title: "Something went wrong here" },
  database_unavailable: { status: 503, title: "The database does not answer" },
  queue_unavailable: { status: 503, title: "The queue does not answer" },
  token_keys_unavailable: { status: 503, title: "The keys of tokens cannot be had" },
  search_unavailable: { status: 503, title: "The search took too long" },
  misconfigured: { status: 503, title: "The service is not configured for this" },
} as const;

export type ProblemCode = keyof typeof problems;

/** One thing wrong with a request. `path` is a JSON Pointer into the body, or a parameter's name. */
export type FieldProblem = { path: string; message: string };

/** An error that a client may see: all of it is written for them. */
export class ApiError extends Error {
  readonly code: ProblemCode;
  readonly errors: FieldProblem[] | undefined;
  readonly headers: Record<string, string>;

  constructor(
    code: ProblemCode,
    detail: string,
    more: { errors?: FieldProblem[]; headers?: Record<string, string>; cause?: unknown } = {},
  ) {
    super(detail, { cause: more.cause });
    this.name = "ApiError";
    this.code = code;
    this.errors = more.errors;
    this.headers = {
      ...(problems[code].status === 503 ? { "Retry-After": "5" } : {}),
      ...more.headers,
    };
  }
}

/** The one sentence of an error that goes to a log line: never a body, never a value. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return `${error.name}: ${error.message}${cause}`.slice(0, 500);
}
