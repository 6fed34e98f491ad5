import { cleanText, cutText } from "./clean-text.ts";

/** `nora@example.com` becomes `n***@example.com`; a text that is no address keeps its first character only. */
export function maskEmail(email: string): string {
  const at = email.lastIndexOf("@");
  const first = [...email][0] ?? "";
  return at > 0 ? `${first}***${email.slice(at)}` : `${first}***`;
}

const keys = new Map<string, CryptoKey>();

/**
 * A keyed hash of an address, the same for every spelling of its letter case, so that an exact filter
 * still finds it. The key is derived for each tenant (HKDF, RFC 5869): hashes of two tenants cannot be
 * compared, and one who has the database has no key.
 *
 * @returns HMAC-SHA-256, in base64url
 */
export async function hashEmail(email: string, tenantId: string, secret: string): Promise<string> {
  const key = await emailKey(tenantId, secret);
  // Cleaned and cut as filters are, so that an odd address finds its log too.
  const address = cutText(cleanText(email)).trim().toLowerCase();
  const mac = await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(address));
  return new Uint8Array(mac).toBase64({ alphabet: "base64url", omitPadding: true });
}

async function emailKey(tenantId: string, secret: string): Promise<CryptoKey> {
  const name = JSON.stringify([tenantId, secret]);
  const known = keys.get(name);
  if (known) return known;
  const made = await deriveKey(tenantId, secret);
  // Tenants come from tokens: the cache is bounded.
  if (keys.size >= 1000) keys.clear();
  keys.set(name, made);
  return made;
}

async function deriveKey(tenantId: string, secret: string): Promise<CryptoKey> {
  const encoder = new TextEncoder();
  const root = await crypto.subtle.importKey("raw", encoder.encode(secret), "HKDF", false, [
    "deriveKey",
  ]);
  return crypto.subtle.deriveKey(
    {
      name: "HKDF",
      hash: "SHA-256",
      salt: new Uint8Array(),
      info: encoder.encode(`email:${tenantId}`),
    },
    root,
    { name: "HMAC", hash: "SHA-256", length: 256 },
    false,
    ["sign"],
  );
}
