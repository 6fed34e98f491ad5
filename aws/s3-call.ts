/** One try of a call of S3, for a log event: `code` where it failed, no `status` where no answer came. */
export type S3Call = {
  action: string;
  /** The object's key; empty where the call is about none. */
  key: string;
  status?: number;
  code?: string;
  ms: number;
  /** Sent to S3. */
  bytes: number;
};

type Tried = {
  action: string;
  url: string;
  bucketUrl: string;
  body: RequestInit["body"];
  /** Milliseconds since 1970. */
  began: number;
};

export function s3Call(tried: Tried, status?: number, code?: string): S3Call {
  const { pathname } = new URL(tried.url);
  const prefix = new URL(`${tried.bucketUrl}/`).pathname;
  return {
    action: tried.action,
    key: decodeURIComponent(pathname.slice(prefix.length)),
    ...(status === undefined ? {} : { status }),
    ...(code === undefined ? {} : { code }),
    ms: Date.now() - tried.began,
    bytes: sizeOf(tried.body),
  };
}

function sizeOf(body: RequestInit["body"]): number {
  if (body instanceof Uint8Array) return body.byteLength;
  return typeof body === "string" ? new TextEncoder().encode(body).byteLength : 0;
}
