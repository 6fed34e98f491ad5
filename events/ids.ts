const uuid = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i;

export function isUuid(text: string): boolean {
  return uuid.test(text);
}

/** The first 48 bits of a UUIDv7 (RFC 9562): milliseconds since 1970. For a log it is created_at. */
export function idTime(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

/** The least id of a millisecond: a bound, never a log's id. Out of range it is the nearest bound. */
export function firstIdAt(ms: number): string {
  const bounded = Math.min(Math.max(Math.floor(ms), 0), 2 ** 48 - 1);
  const hex = bounded.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

/** The least id behind another: a bound, which takes that one in where it is exclusive. */
export function idAfter(id: string): string {
  const next = BigInt(`0x${id.replaceAll("-", "")}`) + 1n;
  const hex = next.toString(16).padStart(32, "0");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join("-");
}

/** The month of a log, in UTC: `2026.11`. It names the index that the log belongs to, for ever. */
export function idMonth(id: string): string {
  return new Date(idTime(id)).toISOString().slice(0, 7).replace("-", ".");
}
