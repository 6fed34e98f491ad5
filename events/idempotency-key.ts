import { createHmac } from "node:crypto";

/** A caller's name for a request that is to be done once. */
export type IdempotencyKey = {
  /** Who calls: the token's subject. */
  sub: string;
  /** Method and path: `POST /logs`. */
  scope: string;
  /** The caller's own, at most 255 characters. */
  key: string;
  /** Says of two requests whether their bodies are the same. */
  bodyMac: string;
};

/** Stands for the tenant of a platform admin's keys: no tenant has this id. */
export const platformKeys = "";

/** What is compared by its hash, each with hashes of its own. */
type Compared = "request" | "event" | "read";

/**
 * A keyed hash that tells whether two texts of a tenant are the same. Who has the database can neither
 * guess a text by it, nor compare those of two tenants or of two kinds.
 *
 * @returns HMAC-SHA-256 (RFC 2104), in base64url
 */
export function compareMac(kind: Compared, tenantId: string, text: string, secret: string): string {
  return createHmac("sha256", secret)
    .update(JSON.stringify([kind, tenantId]))
    .update(text)
    .digest("base64url");
}
