import { createHash } from "node:crypto";
import type { TokenConfig } from "../../platform/config.ts";
import { keepRecent } from "../../platform/keep-recent.ts";
import type { Bearer } from "./caller.ts";

/** How long a token is good here whose key the issuer has withdrawn meanwhile. */
const keepMs = 30_000;
const maxKept = 1_000;

/** A bearer, until when the token is good, and when it was verified: milliseconds since 1970. */
type Known = { bearer: Bearer; expiresAt: number; verifiedAt: number };
/** By what they were verified with, and their hash: no token is kept. */
const known = new WeakMap<TokenConfig, Map<string, Known>>();

/**
 * The bearer of a token that was verified lately, by the same configuration: a caller sends the same one with each
 * request, and a flood of them would have each signature checked. What is not the token's own is asked for every
 * time: whether its tenant is suspended, or ends all tokens of before a moment.
 */
export function knownBearer(token: string, config: TokenConfig): Bearer | undefined {
  const kept = known.get(config)?.get(hashOf(token));
  const now = Date.now();
  return kept && now < kept.expiresAt && now - kept.verifiedAt < keepMs ? kept.bearer : undefined;
}

/** @param exp when it expires, in seconds since 1970: kept, it is good until then and no second longer */
export function keepBearer(token: string, config: TokenConfig, bearer: Bearer, exp: number): void {
  const kept = known.get(config) ?? new Map<string, Known>();
  known.set(config, kept);
  const now = Date.now();
  keepRecent(kept, hashOf(token), { bearer, expiresAt: exp * 1_000, verifiedAt: now }, maxKept);
}

function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}
