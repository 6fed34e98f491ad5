import { finished } from "node:stream/promises";
import { createGunzip, type Gunzip } from "node:zlib";
import type { RowReader } from "./export-rows.ts";

export type Unpacked = {
  /** Resolves when the piece is no longer needed. */
  write(piece: Buffer): Promise<void>;
  /** What is wrong with the compressed bytes, where something is. */
  end(): Promise<string | undefined>;
};

/** Passes bytes on to a reader, unpacked where they are gzip: whole members, and nothing after them. */
export function unpackedInto(rows: RowReader, compression: "none" | "gzip"): Unpacked {
  if (compression === "none")
    return {
      write: (piece) => Promise.resolve(rows.read(piece)),
      end: () => Promise.resolve(undefined),
    };
  let gunzip: Gunzip | undefined;
  let ended: Promise<string | undefined> = Promise.resolve(undefined);
  let hasFailed = false;
  let written = 0;
  // Only once there are bytes: none at all are no members, and right.
  const started = (): Gunzip => {
    const made = createGunzip();
    made.on("data", (bytes: Buffer) => rows.read(bytes));
    ended = finished(made).then(
      () => (made.bytesWritten === written ? undefined : "bytes after the last member"),
      (error: unknown) => {
        hasFailed = true;
        return error instanceof Error ? error.message : String(error);
      },
    );
    return made;
  };
  return {
    async write(piece) {
      gunzip ??= started();
      const { promise, resolve } = Promise.withResolvers<void>();
      if (hasFailed) return;
      written += piece.length;
      gunzip.write(piece, () => resolve());
      await Promise.race([promise, ended]);
    },
    async end() {
      gunzip?.end();
      return await ended;
    },
  };
}
