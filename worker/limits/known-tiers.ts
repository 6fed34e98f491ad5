import { z } from "zod";
import { keepRecent } from "../../platform/keep-recent.ts";
import { defaultRateTier, type RateTier, rateTiers } from "./rate-limits.ts";

const maxKnown = 10_000;
/** What this isolate was told last. A tier of another release is the default one. */
const known = new Map<string, RateTier>();
const tierText = z.enum(rateTiers).catch(defaultRateTier);

/**
 * Takes down in which tier a tenant is. Every transaction of a request says it: so it costs no round trip, and
 * a change is known as soon as a request of the tenant was answered here.
 *
 * @param tier as the database has it; null for a tenant that is not made yet
 */
export function learnTier(tenantId: string, tier: string | null): void {
  keepRecent(known, tenantId, tierText.parse(tier), maxKnown);
}

/** The tier of a tenant, or the default where this isolate has not heard of it. */
export function knownTier(tenantId: string): RateTier {
  return known.get(tenantId) ?? defaultRateTier;
}
