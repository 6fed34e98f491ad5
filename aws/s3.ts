import { AwsClient } from "aws4fetch";
import type { S3Config } from "../platform/config.ts";
import { timedHop } from "../platform/hop-times.ts";
import { retryAfterMs, type RetryPolicy, withRetries } from "../platform/retry.ts";
import {
  element,
  elements,
  errorCode,
  errorStatus,
  escapeXml,
  nameOf,
  S3Error,
} from "./s3-answers.ts";
import { type S3Call, s3Call } from "./s3-call.ts";

/** One client for one request or slice of work. */
export type S3 = ReturnType<typeof connectS3>;
export type ObjectKind = { contentType: string; fileName: string };
export type UploadedPart = { number: number; etag: string };
export type ListedPart = UploadedPart & { bytes: number };
type Answered = { headers: Headers; text: string; bytes: Uint8Array<ArrayBuffer> };

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

export type S3Options = {
  /** The most that is waited before the second try of a passing error. */
  retryMs?: number;
  /** Told of every try. */
  onCall?: (call: S3Call) => void;
  /** What a request is made with instead of bytes; anew for each try. */
  bodyOf?: (bytes: Uint8Array) => NonNullable<RequestInit["body"]>;
};

/**
 * The calls of S3 that exports need, signed, each with a timeout. Objects are private and encrypted with
 * keys of S3 (SSE-S3): with KMS an ETag would not be the MD5 that a lost Complete is recognised by.
 */
export function connectS3(
  config: S3Config,
  { retryMs = firstBackoffMs, onCall = () => {}, bodyOf = (bytes) => bytes }: S3Options = {},
) {
  const aws = signer(config);

  async function once(
    action: string,
    url: string,
    init: RequestInit,
    timeoutMs: number,
  ): Promise<Answered> {
    const about = { action, url, bucketUrl: bucketUrl(config), body: init.body, began: Date.now() };
    try {
      const answer = await timedHop("s3", () => send(action, url, init, timeoutMs));
      onCall(s3Call(about, 200));
      return answer;
    } catch (error) {
      if (error instanceof S3Error) onCall(s3Call(about, error.status, error.code));
      throw error;
    }
  }

  async function send(
    action: string,
    url: string,
    init: RequestInit,
    timeoutMs: number,
  ): Promise<Answered> {
    let response: Response;
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      const { body } = init;
      const signal = AbortSignal.timeout(timeoutMs);
      const sent = body instanceof Uint8Array ? { ...init, body: bodyOf(body) } : init;
      response = await aws.fetch(url, { ...sent, signal });
      bytes = new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      throw new S3Error(action, "no answer", undefined, { cause: error });
    }
    const isData = response.ok && action === "GetObject";
    const text = isData ? "" : new TextDecoder().decode(bytes);
    // S3 can put an error into the body of a 200: of Complete it says so itself.
    const code = errorCode(text);
    if (!response.ok)
      throw new S3Error(action, code ?? nameOf(response.status), response.status, {
        retryAfterMs: retryAfterMs(response.headers.get("Retry-After"), Date.now()),
      });
    if (code !== undefined && action === "CompleteMultipartUpload")
      throw new S3Error(action, code, errorStatus[code] ?? 500);
    return { headers: response.headers, text, bytes };
  }

  /**
   * Tries passing errors again. Every call that goes through here may be repeated. All tries together
   * take at most twice as long as one may.
   */
  function call(action: string, url: string, init: RequestInit, timeoutMs = callTimeoutMs) {
    const policy = { ...retries, firstMs: retryMs, deadlineMs: 2 * timeoutMs };
    return withRetries(policy, (leftMs) => once(action, url, init, Math.min(timeoutMs, leftMs)));
  }

  const listUrl = (query: Record<string, string>) => `${bucketUrl(config)}?${queryText(query)}`;
  const urlOf = (key: string, query: Record<string, string> = {}) => {
    const path = key.split("/").map(encodeURIComponent).join("/");
    const search = queryText(query);
    return `${bucketUrl(config)}/${path}${search === "" ? "" : `?${search}`}`;
  };

  return {
    bucket: config.bucket,

    /** @returns the upload's id. Repeated after a lost answer it leaves an upload that `openUploads` finds. */
    async createUpload(key: string, kind: ObjectKind): Promise<string> {
      const url = urlOf(key, { uploads: "" });
      const init = { method: "POST", headers: objectHeaders(kind) };
      const { text } = await call("CreateMultipartUpload", url, init);
      const id = element(text, "UploadId");
      if (id === undefined) throw new S3Error("CreateMultipartUpload", "no UploadId", 500);
      return id;
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
      const url = urlOf(key, { uploadId });
      const { text } = await once("CompleteMultipartUpload", url, init, completeTimeoutMs);
      // S3 sends 200 and white space while it works: an answer that ends there says nothing.
      if (!text.includes("<CompleteMultipartUploadResult"))
        throw new S3Error("CompleteMultipartUpload", "no result", 500);
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

    /**
     * The uploads under a key that were neither completed nor aborted: where the answer of a Create was lost,
     * there is one that no one else knows of. At most 1,000.
     */
    async openUploads(key: string): Promise<string[]> {
      const { text } = await call(
        "ListMultipartUploads",
        listUrl({ uploads: "", prefix: key }),
        {},
      );
      return elements(text, "Upload")
        .filter((upload) => element(upload, "Key") === key)
        .flatMap((upload) => element(upload, "UploadId") ?? []);
    },

    /** The parts that an upload has, in their order. */
    async listParts(key: string, uploadId: string): Promise<ListedPart[]> {
      const parts: ListedPart[] = [];
      let after = "0";
      for (;;) {
        const url = urlOf(key, { uploadId, "part-number-marker": after });
        const { text } = await call("ListParts", url, {});
        parts.push(
          ...elements(text, "Part").map((part) => ({
            number: Number(element(part, "PartNumber")),
            etag: element(part, "ETag") ?? "",
            bytes: Number(element(part, "Size")),
          })),
        );
        const next = element(text, "NextPartNumberMarker") ?? "";
        if (element(text, "IsTruncated") !== "true" || Number(next) <= Number(after)) return parts;
        after = next;
      }
    },

    /** @returns undefined where there is no such object */
    async getObject(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
      return (await unlessMissing(call("GetObject", urlOf(key), {}, uploadTimeoutMs)))?.bytes;
    },

    async putObject(
      key: string,
      body: string | Uint8Array<ArrayBuffer>,
      kind: ObjectKind,
    ): Promise<void> {
      const init = { method: "PUT", body, headers: objectHeaders(kind) };
      await call("PutObject", urlOf(key), init, uploadTimeoutMs);
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
  const response = await signer(config).fetch(bucketUrl(config), {
    method: "HEAD",
    signal: AbortSignal.timeout(timeoutMs),
  });
  return response.ok;
}

function signer({ accessKeyId, secretAccessKey, region }: S3Config): AwsClient {
  return new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 0 });
}

/** Of AWS itself the bucket's own host, but where its certificate does not hold; elsewhere a path. */
function bucketUrl({ endpoint, bucket }: S3Config): string {
  const isAws = /^https:\/\/s3\.[\w-]+\.amazonaws\.com(\.cn)?$/.test(endpoint);
  if (isAws && !bucket.includes(".")) return endpoint.replace("https://", `https://${bucket}.`);
  return `${endpoint.replace(/\/$/, "")}/${bucket}`;
}

/** As signatures have it (RFC 3986): a space is %20, where a form would have a plus sign. */
function queryText(query: Record<string, string>): string {
  return Object.entries(query)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join("&");
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
