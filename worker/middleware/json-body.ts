import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { ApiError } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { readBody } from "./read-body.ts";

/**
 * Reads a JSON body, counting as it comes: no more than the limit is ever held. The validator parses it, and
 * the handler finds it by `c.req.json()` and `c.req.text()`.
 *
 * @param maxBytes of the body as it is sent
 * @throws ApiError `unsupported_media_type`, `too_large`, `request_timeout`, or `malformed_json` for what is not
 *   UTF-8
 */
export function jsonBody(maxBytes: number) {
  return createMiddleware<AppEnv>(async (c, next) => {
    await takeJsonBody(c, maxBytes);
    await next();
  });
}

/** Like jsonBody, for a body that may be left out: that is the empty object. */
export function optionalJsonBody(maxBytes: number) {
  return createMiddleware<AppEnv>(async (c, next) => {
    if (c.req.raw.body === null || c.req.header("Content-Length") === "0") {
      const headers = new Headers(c.req.raw.headers);
      headers.set("Content-Type", "application/json");
      headers.delete("Content-Length");
      // The validator looks at the request's own headers, and passes over what is no JSON.
      c.req.raw = new Request(c.req.raw.url, { method: c.req.method, headers, body: "{}" });
    }
    await takeJsonBody(c, maxBytes);
    await next();
  });
}

/** Reads, counting as it comes, a body that a route has no use for but to tell a repeated request by it. */
export function anyBody(maxBytes: number) {
  return createMiddleware<AppEnv>(async (c, next) => {
    await takeBody(c, maxBytes);
    await next();
  });
}

async function takeJsonBody(c: Context<AppEnv>, maxBytes: number): Promise<void> {
  if (!/^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i.test(c.req.header("Content-Type") ?? "")) {
    throw new ApiError(
      "unsupported_media_type",
      "Send the body as JSON, with Content-Type: application/json.",
    );
  }
  // What is small when it comes may be huge when it is unpacked: no coding is taken.
  if (!/^(?:identity)?$/i.test(c.req.header("Content-Encoding")?.trim() ?? "")) {
    throw new ApiError(
      "unsupported_media_type",
      "Send the body as it is: no Content-Encoding is taken.",
      { headers: { "Accept-Encoding": "identity" } },
    );
  }
  await takeBody(c, maxBytes);
}

async function takeBody(c: Context<AppEnv>, maxBytes: number): Promise<void> {
  const text = decodeText(await readBody(c.req.raw, maxBytes));
  // Hono looks for a body here before it reads the request.
  Object.assign(c.req.bodyCache, { text: Promise.resolve(text) });
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch {
    throw new ApiError("malformed_json", "The body is not valid UTF-8.");
  }
}
