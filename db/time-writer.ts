const [zero, nine, minus, point, letterZ] = [48, 57, 45, 46, 90];
const encoder = new TextEncoder();

/**
 * Writes times as answers have them, in UTC with milliseconds. Logs that follow each other mostly have the same
 * second, which is kept as text.
 */
export class TimeWriter {
  private second = Number.NaN;
  private text: Uint8Array = new Uint8Array(0);

  /** @returns where the time ends in `out` */
  write(ms: number, out: Uint8Array, to: number): number {
    const second = Math.floor(ms / 1000);
    if (second !== this.second) {
      this.text = encoder.encode(new Date(second * 1000).toISOString().slice(0, -4));
      this.second = second;
    }
    out.set(this.text, to);
    let at = to + this.text.length;
    const rest = ms - second * 1000;
    out[at++] = zero + Math.floor(rest / 100);
    out[at++] = zero + (Math.floor(rest / 10) % 10);
    out[at++] = zero + (rest % 10);
    out[at++] = letterZ;
    return at;
  }
}

/**
 * Seconds of the epoch, as Postgres writes a double, in whole milliseconds.
 *
 * @returns undefined for what is no such number
 */
export function millisecondsIn(bytes: Uint8Array, from: number, end: number): number | undefined {
  const isNegative = bytes[from] === minus;
  const first = isNegative ? from + 1 : from;
  if (first >= end) return undefined;
  let ms = 0;
  /** Decimals so far; -1 before the point. */
  let decimals = -1;
  for (let at = first; at < end; at++) {
    const byte = bytes[at] ?? 0;
    if (byte === point && decimals < 0) decimals = 0;
    else if (byte < zero || byte > nine) return undefined;
    else if (decimals < 3) {
      ms = ms * 10 + byte - zero;
      if (decimals >= 0) decimals++;
    }
  }
  ms *= 10 ** (3 - Math.max(decimals, 0));
  return isNegative ? -ms : ms;
}
