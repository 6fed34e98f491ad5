export type HttpRequest = { method: "GET" | "POST"; path: string; token?: string; body?: string };

/** A whole HTTP/1.1 request as the bytes of one write. */
export function requestText({ method, path, token, body }: HttpRequest): string {
  const head = [
    `${method} ${path} HTTP/1.1`,
    "Host: audit-log",
    ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
    ...(body === undefined
      ? []
      : ["Content-Type: application/json", `Content-Length: ${Buffer.byteLength(body)}`]),
  ];
  return `${head.join("\r\n")}\r\n\r\n${body ?? ""}`;
}

export type HttpResponse = { status: number; body: string };

/**
 * The response that `bytes` hold, or undefined while some of it is missing. Only what a server sends to
 * a client that has one request under way (RFC 9112): nothing may follow the response.
 */
export function readResponse(bytes: Buffer): HttpResponse | undefined {
  const headEnd = bytes.indexOf("\r\n\r\n");
  if (headEnd < 0) return undefined;
  const head = bytes.toString("latin1", 0, headEnd);
  const status = Number(head.slice(9, 12));
  if (!head.startsWith("HTTP/1.1 ") || !Number.isInteger(status)) {
    throw new Error(`This is not an HTTP/1.1 response: ${head.slice(0, 40)}`);
  }
  const bodyStart = headEnd + 4;
  if (status === 204 || status === 304) return { status, body: "" };
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) {
    const end = bodyStart + Number(length);
    return bytes.length < end
      ? undefined
      : { status, body: bytes.toString("utf8", bodyStart, end) };
  }
  if (!/\r\ntransfer-encoding: *chunked/i.test(head)) {
    throw new Error("The response says neither its length nor that it comes in chunks.");
  }
  const body = readChunks(bytes, bodyStart);
  return body === undefined ? undefined : { status, body };
}

function readChunks(bytes: Buffer, from: number): string | undefined {
  const chunks: Buffer[] = [];
  for (let at = from; ;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    if (Number.isNaN(size)) throw new Error("A chunk without a size.");
    const start = lineEnd + 2;
    if (bytes.length < start + size + 2) return undefined;
    if (size === 0) return Buffer.concat(chunks).toString("utf8");
    chunks.push(bytes.subarray(start, start + size));
    at = start + size + 2;
  }
}
