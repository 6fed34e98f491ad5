import { ApiError } from "../../platform/errors.ts";

/** From the first byte to the last. The largest body takes 3.4 s at 10 Mbit/s. */
const maxMs = 30_000;
/** What a body of unknown length is first held in. */
const firstBytes = 16_384;

/**
 * A request's body, counted as it comes: whatever length was declared, no more than the limit is ever held,
 * and however small its pieces are, it costs no more than its bytes.
 *
 * @param maxBytes of the body as it is sent
 * @param withinMs the whole body must be there after this time, however steadily it comes
 * @throws ApiError `too_large`, `request_timeout`, or `malformed_json` where it was cut off
 */
export async function readBody(
  request: Request,
  maxBytes: number,
  withinMs = maxMs,
): Promise<Uint8Array> {
  const declared = Number(request.headers.get("Content-Length"));
  if (declared > maxBytes) throw tooLarge(maxBytes);
  if (request.body === null) return new Uint8Array(0);
  const reader = request.body.getReader({ mode: "byob" });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const detail = `The body was not whole after ${withinMs / 1000} seconds. Send it faster, or in smaller parts.`;
      reject(new ApiError("request_timeout", detail));
    }, withinMs);
  });
  try {
    return await Promise.race([collect(reader, declared || firstBytes, maxBytes), late]);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    // The caller's doing, or its network's, and no failure of the service.
    throw new ApiError("malformed_json", "The body was cut off.", { cause: error });
  } finally {
    clearTimeout(timer);
    // Nothing more is wanted of it. Of a body that is whole, or was cut off, there is nothing more.
    reader.cancel().catch(() => {});
  }
}

/** Each piece is read to its place behind the last; the array itself moves along with every read. */
async function collect(
  reader: ReadableStreamBYOBReader,
  expected: number,
  maxBytes: number,
): Promise<Uint8Array> {
  // One more, so that a whole body is known by its end and not by a full array.
  let held = new Uint8Array(Math.min(expected, maxBytes) + 1);
  let size = 0;
  for (;;) {
    const { done, value: piece } = await reader.read(held.subarray(size));
    // Without a piece it was cut off: the request is gone.
    if (piece === undefined) return new Uint8Array(0);
    held = new Uint8Array(piece.buffer);
    if (done) return held.subarray(0, size);
    size += piece.byteLength;
    if (size > maxBytes) throw tooLarge(maxBytes);
    if (size === held.byteLength) {
      const larger = new Uint8Array(Math.min(2 * size, maxBytes + 1));
      larger.set(held);
      held = larger;
    }
  }
}

function tooLarge(maxBytes: number): ApiError {
  return new ApiError("too_large", `The body is larger than ${maxBytes} bytes.`);
}
