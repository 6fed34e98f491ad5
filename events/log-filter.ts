import type { SearchTerm } from "./search-terms.ts";

/** Fields that are compared as they are; several values mean any of them. */
export const exactFields = [
  "severity",
  "user_id",
  "resource_type",
  "resource_id",
  "outcome",
  "actor_type",
  "session_id",
  "request_id",
] as const;

/** What a list, a search or stats is narrowed to. Every array that is empty narrows nothing. */
export type LogFilter = {
  exact: Partial<Record<(typeof exactFields)[number], string[]>>;
  /** Actions; one that ends in `*` is a prefix. */
  action: string[];
  target_id: string[];
  /** Addresses, CIDR blocks, or any other text, which is compared as it is. */
  ip_address: string[];
  /** Keyed hashes: an address itself goes no further than the request. */
  email_hash: string[];
  metadata: { path: string; value: string }[];
  /** Milliseconds since 1970: from inclusive, to exclusive. */
  from: number | null;
  to: number | null;
  occurred_from: number | null;
  occurred_to: number | null;
  search: SearchTerm[];
};

export type Order = "desc" | "asc";

/** One page of logs: those after `after`, the last id of the page before, in the order's direction. */
export type PageRequest = {
  order: Order;
  size: number;
  after: string | null;
  /** Logs to pass over, for numbered pages. Never together with `after`. */
  skip: number;
  /** Milliseconds since 1970: the page holds no log that was stored before. 0 where that is not known. */
  notBefore: number;
  /** Milliseconds since 1970. Logs stored then or later are not on the page: ascending ones end at indexed_through. */
  before: number | null;
};

export type Total = { count: number; isLowerBound: boolean };

/**
 * Bytes of a page of logs, about: one that would be larger has fewer logs. A page of the largest logs would be
 * 25 MB and more, and an isolate, which holds it several times over while it is made, has 128 MB.
 */
export const maxPageBytes = 4 * 1024 * 1024;

/** Totals are counted up to here and a lower bound above. */
export const maxCountedTotal = 10_000;

/** Characters of a path inside metadata that can be filtered by. A longer one is found by its value, with `search`. */
export const maxMetadataPath = 500;
/** Paths inside metadata that one request may filter by. */
export const maxMetadataPaths = 20;

const address = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[\da-f:]*:[\da-f:.]*)$/i;

/** How an ip_address filter is compared: by value where it is an address or a CIDR block, else as text. */
export function isIpPattern(text: string): boolean {
  const [host = "", bits, ...more] = text.split("/");
  if (more.length > 0 || !isIp(host)) return false;
  if (bits === undefined) return true;
  if (isMapped(host)) return false;
  return /^\d{1,3}$/.test(bits) && Number(bits) <= (host.includes(":") ? 128 : 32);
}

/** An IPv4 address that is written as IPv6: OpenSearch takes no block of it. */
function isMapped(host: string): boolean {
  if (!host.includes(":")) return false;
  return /^\[::ffff:[\da-f]+:[\da-f]+\]$/.test(new URL(`http://[${host}]`).hostname);
}

function isIp(host: string): boolean {
  if (!address.test(host)) return false;
  // The URL parser knows every form of an IPv6 address, and refuses the rest.
  if (host.includes(":")) return URL.canParse(`http://[${host}]`);
  return host
    .split(".")
    .every((part) => Number(part) <= 255 && (part === "0" || !part.startsWith("0")));
}
