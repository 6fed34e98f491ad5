import { AwsClient } from "aws4fetch";
import type { S3Config } from "../platform/config.ts";
import { retryAfterMs, type RetryPolicy, withRetries } from "../platform/retry.ts";

/** S3 refused a call (`status` and its `code`, such as `NoSuchBucket`), or did not answer (status undefined). */
export class S3Error extends Error {
  readonly code: string;
  readonly status: number | undefined;
  /** What S3 asked to be waited before another try. */
  readonly retryAfterMs: number | undefined;

  constructor(
    action: string,
    code: string,
    status?: number,
    { cause, retryAfterMs }: { cause?: unknown; retryAfterMs?: number | undefined } = {},
  ) {
    super(`${action} was answered with ${code}${status === undefined ? "" : ` (${status})`}`, {
      cause,
    });
    this.name = "S3Error";
    this.code = code;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether a later try may end otherwise: no answer, S3's own failures, and being asked to slow down. */
  get isPassing(): boolean {
    if (this.status === undefined || this.status >= 500 || this.status === 429) return true;
    return passingCodes.has(this.code);
  }
}

const passingCodes = new Set([
  "SlowDown",
  "InternalError",
  "ServiceUnavailable",
  "RequestTimeout",
  "OperationAborted",
  "ConditionalRequestConflict",
  "RequestTimeTooSkewed",
]);

/** One client for one request or slice of work. */
export type S3 = ReturnType<typeof connectS3>;
export type ObjectKind = { contentType: string; fileName: string };
export type UploadedPart = { number: number; etag: string };

const callTimeoutMs = 15_000;
/** A part is up to 25 MiB. */
const uploadTimeoutMs = 60_000;
/** Completing a large upload may take minutes: S3 keeps the connection alive with white space. */
const completeTimeoutMs = 180_000;
const firstBackoffMs = 200;
const retries = {
  isPassing: (error: unknown) => error instanceof S3Error && error.isPassing,
  retryAfterMs: (error: unknown) => (error instanceof S3Error ? error.retryAfterMs : undefined),
  tries: 4,
  capMs: 5_000,
} satisfies Partial<RetryPolicy>;

/**
 * The calls of S3 that exports need, signed, each with a timeout. Objects are private and encrypted with
 * keys of S3 (SSE-S3): with KMS an ETag would not be the MD5 that a lost Complete is recognised by.
 *
 * @param retryMs the most that is waited before the second try of a passing error
 */
export function connectS3(config: S3Config, retryMs = firstBackoffMs) {
  const aws = new AwsClient({
    accessKeyId: config.accessKeyId,
    secretAccessKey: config.secretAccessKey,
    region: config.region,
    service: "s3",
    retries: 0,
  });

  async function once(
    action: string,
    url: string,
    init: RequestInit,
    timeoutMs: number,
  ): Promise<{ headers: Headers; text: string }> {
    let response: Response;
    let text: string;
    try {
      response = await aws.fetch(url, { ...init, signal: AbortSignal.timeout(timeoutMs) });
      text = await response.text();
    } catch (error) {
      throw new S3Error(action, "no answer", undefined, { cause: error });
    }
    // S3 can put an error into the body of a 200: of Complete it says so itself.
    const code = /<Error>[\s\S]*?<Code>([^<]+)<\/Code>/.exec(text)?.[1];
    if (!response.ok)
      throw new S3Error(action, code ?? nameOf(response.status), response.status, {
        retryAfterMs: retryAfterMs(response.headers.get("Retry-After"), Date.now()),
      });
    if (code !== undefined && action === "CompleteMultipartUpload")
      throw new S3Error(action, code, errorStatus[code] ?? 500);
    return { headers: response.headers, text };
  }

  /**
   * Tries passing errors again. Every call that goes through here may be repeated. All tries together
   * take at most twice as long as one may.
   */
  function call(action: string, url: string, init: RequestInit, timeoutMs = callTimeoutMs) {
    const policy = { ...retries, firstMs: retryMs, deadlineMs: 2 * timeoutMs };
    return withRetries(policy, (leftMs) => once(action, url, init, Math.min(timeoutMs, leftMs)));
  }

  const urlOf = (key: string, query: Record<string, string> = {}) => {
    const path = key.split("/").map(encodeURIComponent).join("/");
    const search = new URLSearchParams(query).toString();
    return `${bucketUrl(config)}/${path}${search === "" ? "" : `?${search}`}`;
  };

  return {
    bucket: config.bucket,

    /** @returns the upload's id. Repeated after a lost answer it leaves an upload that only a lifecycle rule ends. */
    async createUpload(key: string, kind: ObjectKind): Promise<string> {
      const url = urlOf(key, { uploads: "" });
      const init = { method: "POST", headers: objectHeaders(kind) };
      const { text } = await call("CreateMultipartUpload", url, init);
      const id = /<UploadId>([^<]+)<\/UploadId>/.exec(text)?.[1];
      if (id === undefined) throw new S3Error("CreateMultipartUpload", "no UploadId", 500);
      return unescapeXml(id);
    },

    /**
     * @param number from 1 to 10,000
     * @param sha256 of the body, in hex: S3 refuses a body that it does not fit
     * @returns the part's ETag, with its quotes
     */
    async uploadPart(
      key: string,
      uploadId: string,
      number: number,
      body: Uint8Array<ArrayBuffer>,
      sha256: string,
    ): Promise<string> {
      const { headers } = await call(
        "UploadPart",
        urlOf(key, { partNumber: String(number), uploadId }),
        { method: "PUT", body, headers: { "X-Amz-Content-Sha256": sha256 } },
        uploadTimeoutMs,
      );
      const etag = headers.get("ETag");
      if (etag === null) throw new S3Error("UploadPart", "no ETag", 500);
      return etag;
    },

    /**
     * Makes the object of its parts, where there is none of this key yet. Tried once: after a lost answer
     * the next try is answered with NoSuchUpload or PreconditionFailed, and who calls looks at the object.
     */
    async completeUpload(
      key: string,
      uploadId: string,
      parts: readonly UploadedPart[],
    ): Promise<void> {
      const listed = parts.map(
        ({ number, etag }) =>
          `<Part><PartNumber>${number}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`,
      );
      const body = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${listed.join("")}</CompleteMultipartUpload>`;
      const headers = { "Content-Type": "application/xml", "If-None-Match": "*" };
      const init = { method: "POST", body, headers };
      await once("CompleteMultipartUpload", urlOf(key, { uploadId }), init, completeTimeoutMs);
    },

    /** Ends an upload and removes its parts. One that is gone already is no error. */
    async abortUpload(key: string, uploadId: string): Promise<void> {
      await unlessMissing(
        call("AbortMultipartUpload", urlOf(key, { uploadId }), { method: "DELETE" }),
      );
    },

    /** @returns undefined where there is no such object */
    async head(key: string): Promise<{ bytes: number; etag: string } | undefined> {
      const answer = await unlessMissing(call("HeadObject", urlOf(key), { method: "HEAD" }));
      if (!answer) return undefined;
      return {
        bytes: Number(answer.headers.get("Content-Length") ?? -1),
        etag: answer.headers.get("ETag") ?? "",
      };
    },

    async putObject(key: string, body: string, kind: ObjectKind): Promise<void> {
      await call("PutObject", urlOf(key), { method: "PUT", body, headers: objectHeaders(kind) });
    },

    async deleteObject(key: string): Promise<void> {
      await unlessMissing(call("DeleteObject", urlOf(key), { method: "DELETE" }));
    },

    /** A link to one object that needs no key of its own. @param seconds how long it works, at most 7 days */
    async presignGet(key: string, seconds: number): Promise<string> {
      const url = urlOf(key, { "X-Amz-Expires": String(seconds) });
      return (await aws.sign(url, { method: "GET", aws: { signQuery: true } })).url;
    },
  };
}

/** True when the export bucket is there and the keys may see it. */
export async function bucketAnswers(config: S3Config, timeoutMs: number): Promise<boolean> {
  const aws = new AwsClient({
    accessKeyId: config.accessKeyId,
    secretAccessKey: config.secretAccessKey,
    region: config.region,
    service: "s3",
    retries: 0,
  });
  const response = await aws.fetch(bucketUrl(config), {
    method: "HEAD",
    signal: AbortSignal.timeout(timeoutMs),
  });
  return response.ok;
}

/** Of AWS itself the bucket's own host, but where its certificate does not hold; elsewhere a path. */
function bucketUrl({ endpoint, bucket }: S3Config): string {
  const isAws = /^https:\/\/s3\.[\w-]+\.amazonaws\.com(\.cn)?$/.test(endpoint);
  if (isAws && !bucket.includes(".")) return endpoint.replace("https://", `https://${bucket}.`);
  return `${endpoint.replace(/\/$/, "")}/${bucket}`;
}

/** The status that S3 would have given an error which it wrote into the body of a 200. */
const errorStatus: Record<string, number> = {
  InvalidPart: 400,
  InvalidPartOrder: 400,
  EntityTooSmall: 400,
  NoSuchUpload: 404,
  PreconditionFailed: 412,
  AccessDenied: 403,
};

/** A HEAD has no body that would name the error. */
function nameOf(status: number): string {
  return { 403: "AccessDenied", 404: "NotFound" }[status] ?? `HTTP ${status}`;
}

async function unlessMissing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof S3Error && error.status === 404 && error.code !== "NoSuchBucket")
      return undefined;
    throw error;
  }
}

function objectHeaders({ contentType, fileName }: ObjectKind): Record<string, string> {
  return {
    "Content-Type": contentType,
    "Content-Disposition": `attachment; filename="${fileName}"`,
    "x-amz-server-side-encryption": "AES256",
  };
}

const escapeXml = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
const unescapeXml = (text: string) =>
  text
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&amp;", "&");
