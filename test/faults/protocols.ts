import type { IncomingHttpHeaders } from "node:http";
import type { Whole } from "./failed-entries.ts";

export type BackendKind = "postgres" | "opensearch" | "sqs" | "s3";

/**
 * What a call asks for, as its protocol calls it: the action of SQS and S3, the last word of an
 * OpenSearch path (`_bulk`, `_search`, `_refresh`), `sql` for Postgres.
 */
export function nameOfCall(
  kind: BackendKind,
  method: string,
  path: string,
  headers: IncomingHttpHeaders,
): string {
  switch (kind) {
    case "postgres":
      return "sql";
    case "sqs":
      return String(headers["x-amz-target"] ?? "").replace("AmazonSQS.", "");
    case "opensearch":
      return /\/(_\w+)(?:\?[^/]*)?$/.exec(path)?.[1] ?? method;
    case "s3":
      return s3Action(method, new URL(path, "http://s3").searchParams);
  }
}

function s3Action(method: string, query: URLSearchParams): string {
  if (query.has("uploads"))
    return method === "POST" ? "CreateMultipartUpload" : "ListMultipartUploads";
  if (query.has("partNumber")) return "UploadPart";
  if (query.has("uploadId")) {
    if (method === "GET") return "ListParts";
    return method === "DELETE" ? "AbortMultipartUpload" : "CompleteMultipartUpload";
  }
  const actions: Record<string, string> = {
    GET: "GetObject",
    HEAD: "HeadObject",
    PUT: "PutObject",
    DELETE: "DeleteObject",
  };
  return actions[method] ?? method;
}

/** An error as each service words it. */
export function errorAnswer(kind: BackendKind, status: 429 | 500 | 503, retryAfter: number): Whole {
  const isXml = kind === "s3";
  const headers = {
    "content-type": isXml ? "application/xml" : "application/json",
    ...(status === 500 ? {} : { "retry-after": String(retryAfter) }),
  };
  return { status, headers, body: Buffer.from(errorBody(kind, status)) };
}

function errorBody(kind: BackendKind, status: 429 | 500 | 503): string {
  switch (kind) {
    case "postgres":
      return JSON.stringify({ message: "a fault, on purpose" });
    case "sqs": {
      const type = {
        429: "ThrottlingException",
        500: "InternalFailure",
        503: "ServiceUnavailable",
      };
      return JSON.stringify({ __type: `com.amazonaws.sqs#${type[status]}`, message: "a fault" });
    }
    case "opensearch": {
      const type = {
        429: "rejected_execution_exception",
        500: "exception",
        503: "cluster_block_exception",
      };
      return JSON.stringify({ error: { type: type[status], reason: "a fault" }, status });
    }
    case "s3": {
      const code = { 429: "TooManyRequests", 500: "InternalError", 503: "SlowDown" }[status];
      return `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>a fault</Message></Error>`;
    }
  }
}
