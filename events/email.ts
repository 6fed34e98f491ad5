import { createHmac } from "node:crypto";
import { cleanText, cutText } from "./clean-text.ts";
import { tenantKey } from "./tenant-key.ts";

/** `nora@example.com` becomes `n***@example.com`; a text that is no address keeps its first character only. */
export function maskEmail(email: string): string {
  const at = email.lastIndexOf("@");
  const first = [...email][0] ?? "";
  return at > 0 ? `${first}***${email.slice(at)}` : `${first}***`;
}

/**
 * A keyed hash of an address, the same for every spelling of its letter case, so that an exact filter
 * still finds it.
 *
 * @returns HMAC-SHA-256, in base64url
 */
export function hashEmail(email: string, tenantId: string, secret: string): string {
  // Cleaned and cut as filters are, so that an odd address finds its log too.
  const address = cutText(cleanText(email)).trim().toLowerCase();
  return createHmac("sha256", tenantKey("email", tenantId, secret))
    .update(address)
    .digest("base64url");
}
