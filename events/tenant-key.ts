import { hkdfSync } from "node:crypto";
import { keepRecent } from "../platform/keep-recent.ts";

const maxKeys = 2_000;
/** Tenants come from tokens: no more of them are kept. */
const keys = new Map<string, Uint8Array>();

/**
 * The key by which values of a tenant are hashed for one use, derived by HKDF-SHA-256 (RFC 5869): hashes of
 * two tenants, or of two uses, cannot be compared, and who has the database can test no guess.
 *
 * @param secret the deployment's: it is never stored beside what it hashes
 * @returns 32 bytes
 */
export function tenantKey(use: "email" | "mask", tenantId: string, secret: string): Uint8Array {
  const name = JSON.stringify([use, tenantId, secret]);
  const known = keys.get(name);
  if (known) return known;
  const key = new Uint8Array(hkdfSync("sha256", secret, "", `${use}:${tenantId}`, 32));
  keepRecent(keys, name, key, maxKeys);
  return key;
}
