import { createHmac } from "node:crypto";
import { tenantKey } from "./tenant-key.ts";

/**
 * What stands for a value that is masked by `hash`: the same for equal values of one tenant, wherever they
 * stand, so that they can be matched and found.
 *
 * @returns `hash:` and 128 bits of an HMAC-SHA-256 in base64url
 */
export function maskHash(text: string, tenantId: string, secret: string): string {
  const mac = createHmac("sha256", tenantKey("mask", tenantId, secret))
    .update(text)
    .digest();
  return `hash:${mac.subarray(0, 16).toString("base64url")}`;
}

/** Whether a text has the form of one. */
export const isMaskHash = (text: string): boolean => /^hash:[\w-]{22}$/.test(text);
