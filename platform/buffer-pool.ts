/**
 * Large buffers that have been used and are free again. Left to the garbage collector, which comes late for
 * what lies outside its heap, those that were used last would be most of what an isolate holds.
 */
export class BufferPool {
  private free: Uint8Array<ArrayBuffer>[] = [];
  private readonly mostKept: number;

  /** @param mostKept bytes that are kept while nobody uses them */
  constructor(mostKept: number) {
    this.mostKept = mostKept;
  }

  /** @returns one of at least `length` bytes, with anything in it; undefined where none is free */
  take(length: number): Uint8Array<ArrayBuffer> | undefined {
    const at = this.free.findIndex((buffer) => buffer.length >= length);
    return at < 0 ? undefined : this.free.splice(at, 1)[0];
  }

  /** Must not be used any more by who gives it back. */
  give(buffer: Uint8Array<ArrayBuffer>): void {
    this.free.push(buffer);
    // The oldest go first: parts of a file grow, and small buffers would stay for nothing.
    while (this.free.reduce((sum, { length }) => sum + length, 0) > this.mostKept)
      this.free.shift();
  }
}
