import { Buffer } from "node:buffer";
import type { BufferPool } from "../platform/buffer-pool.ts";

/** What a page takes in JSON, mostly; more where it must. */
const firstLength = 1280 * 1024;

/**
 * Reads an answer of SQL over HTTP whose long texts are left as bytes: as strings, in the answer as a whole and
 * each by itself, they would be most of the work of the isolate and most of its heap.
 *
 * @param marker what these texts begin with, and nothing else in the answer does; in the answer they are empty
 * @param take makes something of a text, given where it begins, and says what is behind its closing quote; the
 *   bytes are its to use only as long as it runs
 */
export async function readTexts(
  response: Response,
  marker: string,
  pool: BufferPool,
  take: (bytes: Uint8Array<ArrayBuffer>, start: number) => number,
): Promise<unknown> {
  if (!response.body) throw new Error("An answer has no body.");
  const { buffer, length } = await bodyOf(response.body, pool);
  const bytes = buffer.subarray(0, length);
  const view = Buffer.from(buffer.buffer, buffer.byteOffset, length);
  const mark = Buffer.from(marker);
  const decoder = new TextDecoder();
  let json = "";
  let from = 0;
  for (;;) {
    const at = view.indexOf(mark, from);
    json += decoder.decode(bytes.subarray(from, at < 0 ? length : at));
    if (at < 0) break;
    from = take(bytes, at + mark.length);
    json += '"';
  }
  pool.give(buffer);
  return JSON.parse(json);
}

async function bodyOf(
  body: ReadableStream<Uint8Array>,
  pool: BufferPool,
): Promise<{ buffer: Uint8Array<ArrayBuffer>; length: number }> {
  const reader = body.getReader({ mode: "byob" });
  let buffer = pool.take(firstLength) ?? new Uint8Array(firstLength);
  let length = 0;
  for (;;) {
    if (length === buffer.length) {
      const larger = pool.take(length + 1) ?? new Uint8Array(length * 2);
      larger.set(buffer);
      pool.give(buffer);
      buffer = larger;
    }
    // The reader takes the buffer, and gives it back under another name.
    const { value, done } = await reader.read(buffer.subarray(length));
    if (!value) throw new Error("An answer was cut off.");
    buffer = new Uint8Array(value.buffer);
    length += value.byteLength;
    if (done) return { buffer, length };
  }
}
