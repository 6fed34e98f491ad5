import { createHmac, hkdfSync } from "node:crypto";

const maxKeys = 1_000;
const keys = new Map<string, Uint8Array>();

/**
 * What stands for a value that is masked by `hash`: the same for equal values of one tenant, wherever they
 * stand, so that they can be matched and found. The key is derived for each tenant (HKDF, RFC 5869), so two
 * tenants' cannot be compared, and who has the database can test no guess.
 *
 * @returns `hash:` and 128 bits of an HMAC-SHA-256 in base64url
 */
export function maskHash(text: string, tenantId: string, secret: string): string {
  const mac = createHmac("sha256", tenantKey(tenantId, secret)).update(text).digest();
  return `hash:${mac.subarray(0, 16).toString("base64url")}`;
}

/** Whether a text has the form of one. */
export const isMaskHash = (text: string): boolean => /^hash:[\w-]{22}$/.test(text);

function tenantKey(tenantId: string, secret: string): Uint8Array {
  const name = JSON.stringify([tenantId, secret]);
  const known = keys.get(name);
  if (known) return known;
  const key = new Uint8Array(hkdfSync("sha256", secret, "", `mask:${tenantId}`, 32));
  // Tenants come from tokens: the cache is bounded.
  if (keys.size >= maxKeys) keys.clear();
  keys.set(name, key);
  return key;
}
