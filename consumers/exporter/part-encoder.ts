import type { ExportCompression } from "../../events/export.ts";
import type { BufferPool } from "../../platform/buffer-pool.ts";

/** Collects the bytes of one part. Nothing of it is kept anywhere but here until it is uploaded. */
export type PartEncoder = {
  /** They may be changed afterwards. */
  write(bytes: Uint8Array): Promise<void>;
  /** Bytes of the part so far, at least: a compressor holds some back. */
  size(): number;
  end(): Promise<Uint8Array<ArrayBuffer>>;
  /** Gives its buffer back. What `end` gave must not be used any more. */
  release(): void;
};

/**
 * @param expectedBytes how large the part will be, about
 * @param pool where it takes its buffer from, if one is there
 * @param begun what an encoder of the same kind made of the rows before
 */
export function partEncoder(
  compression: ExportCompression,
  expectedBytes: number,
  pool: BufferPool,
  begun: Uint8Array<ArrayBuffer> = new Uint8Array(0),
): PartEncoder {
  return compression === "gzip" ? gzipEncoder(begun) : plainEncoder(expectedBytes, pool, begun);
}

/** Room for the last rows of a part, which end beyond its size. */
const slack = 512 * 1024;

/** Where a part begins, so that a small export stays small. */
const firstLength = 64 * 1024;

function plainEncoder(
  expectedBytes: number,
  pool: BufferPool,
  begun: Uint8Array<ArrayBuffer>,
): PartEncoder {
  let buffer = begun.length > 0 ? begun : new Uint8Array(firstLength);
  let used = begun.length;

  function grow(needed: number): void {
    const length = Math.max(needed, expectedBytes + slack);
    const grown = pool.take(length) ?? new Uint8Array(Math.max(length, buffer.length * 2));
    grown.set(buffer.subarray(0, used));
    buffer = grown;
  }

  return {
    async write(bytes) {
      if (used + bytes.length > buffer.length) grow(used + bytes.length);
      buffer.set(bytes, used);
      used += bytes.length;
    },
    size: () => used,
    end: async () => buffer.subarray(0, used),
    release() {
      if (buffer.length > firstLength) pool.give(buffer);
      buffer = new Uint8Array(0);
    },
  };
}

/**
 * Each part is whole gzip members (RFC 1952), so that it can be made again without the others: one, and one
 * more for each time that it was put aside.
 */
function gzipEncoder(begun: Uint8Array<ArrayBuffer>): PartEncoder {
  const stream = new CompressionStream("gzip");
  const writer = stream.writable.getWriter();
  const chunks: Uint8Array[] = [begun];
  let received = begun.length;
  const reading = (async () => {
    for await (const chunk of stream.readable) {
      chunks.push(chunk);
      received += chunk.byteLength;
    }
  })();
  // It is awaited at the end; until then a failure shows in the writes.
  reading.catch(() => {});
  return {
    write: (bytes) => writer.write(bytes),
    size: () => received,
    async end() {
      await writer.close();
      await reading;
      const whole = new Uint8Array(received);
      let at = 0;
      for (const chunk of chunks) {
        whole.set(chunk, at);
        at += chunk.byteLength;
      }
      return whole;
    },
    release() {},
  };
}
