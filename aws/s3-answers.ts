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

/** The status that S3 would have given an error which it wrote into the body of a 200. */
export const errorStatus: Record<string, number> = {
  InvalidPart: 400,
  InvalidPartOrder: 400,
  EntityTooSmall: 400,
  NoSuchUpload: 404,
  PreconditionFailed: 412,
  AccessDenied: 403,
};

/** A HEAD has no body that would name the error. */
export function nameOf(status: number): string {
  return { 403: "AccessDenied", 404: "NotFound" }[status] ?? `HTTP ${status}`;
}

/** The name of the error that an answer's body holds. What is no name goes no further: exports show it to readers. */
export function errorCode(text: string): string | undefined {
  if (!text.includes("<Error>")) return undefined;
  const code = element(text, "Code") ?? "";
  return /^[A-Za-z]\w{0,63}$/.test(code) ? code : "UnnamedError";
}

/** What stands in an element of S3's answers, whose names are never nested in themselves. */
export const element = (xml: string, name: string): string | undefined => {
  const found = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
  return found === undefined ? undefined : unescapeXml(found);
};
export const elements = (xml: string, name: string): string[] =>
  [...xml.matchAll(new RegExp(`<${name}>([\\s\\S]*?)</${name}>`, "g"))].map(
    (found) => found[1] ?? "",
  );
export const escapeXml = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
const unescapeXml = (text: string) =>
  text
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll(/&quot;|&#34;/g, '"')
    .replaceAll("&amp;", "&");
