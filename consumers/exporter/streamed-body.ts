/** What is written at once. */
const pieceBytes = 256 * 1024;

/** Bytes as the body of a request that else would hold a copy of them all until it is over. Its length is sent. */
export function streamedBody(bytes: Uint8Array): ReadableStream {
  const { readable, writable } = new FixedLengthStream(bytes.byteLength);
  // It fails where the request does, which says why.
  writePieces(writable, bytes).catch(() => {});
  return readable;
}

async function writePieces(writable: WritableStream, bytes: Uint8Array): Promise<void> {
  const writer = writable.getWriter();
  for (let at = 0; at < bytes.byteLength; at += pieceBytes)
    await writer.write(bytes.subarray(at, at + pieceBytes));
  await writer.close();
}
