/** What a request counts as. A bulk counts once, whatever it holds, and apart: it does the work of many writes. */
export type RequestKind = "reads" | "writes" | "bulks";

/** The tiers that a tenant can be in. A new tenant is in `standard`. */
export const rateTiers = ["low", "standard", "high", "unlimited"] as const;
export type RateTier = (typeof rateTiers)[number];
export const defaultRateTier: RateTier = "standard";

type LimitedTier = Exclude<RateTier, "unlimited">;
type Limit = { caller: number; tenant: number; atOnce: number };

/** Of every window, in seconds: the shorter of the two that the platform has, so that nobody waits long. */
export const windowSeconds = 10;

/**
 * Requests in a window: of one caller of a tenant, and of the tenant; and those of a tenant that are under way
 * in one isolate at the same time. wrangler.toml says the first two once more (see allRateLimits), since that is
 * where the platform reads them, and a test compares.
 */
export const rateLimits: Record<LimitedTier, Record<RequestKind, Limit>> = {
  low: {
    reads: { caller: 50, tenant: 100, atOnce: 8 },
    writes: { caller: 50, tenant: 100, atOnce: 8 },
    bulks: { caller: 5, tenant: 10, atOnce: 2 },
  },
  standard: {
    reads: { caller: 500, tenant: 1_000, atOnce: 32 },
    writes: { caller: 1_000, tenant: 2_000, atOnce: 32 },
    bulks: { caller: 50, tenant: 100, atOnce: 2 },
  },
  high: {
    reads: { caller: 2_500, tenant: 5_000, atOnce: 128 },
    writes: { caller: 5_000, tenant: 10_000, atOnce: 128 },
    bulks: { caller: 500, tenant: 1_000, atOnce: 16 },
  },
};

/** What is let through evenly. The rest may come in bursts: see docs/adr/0020-rate-limits.md. */
const pacedKinds: readonly RequestKind[] = ["bulks"];

/** Of API keys that an isolate does not know yet, by one network address: each costs a look into the database. */
export const keyLookupLimit = 100;
export const keyLookupBinding = "LIMIT_KEY_LOOKUPS";

export type Counted = "caller" | "tenant";
type TierBinding =
  `LIMIT_${Uppercase<LimitedTier>}_${Uppercase<Counted>}_${Uppercase<RequestKind>}`;
export type RateLimitBinding = TierBinding | typeof keyLookupBinding;

/** One limit that a request is held against. */
export type Policy = {
  counted: Counted;
  limit: number;
  /** How an isolate spreads it over the window. */
  pace: Pace | undefined;
  binding: TierBinding;
};
type Pace = { everyMs: number; most: number };
/** The limits of a tier, and what the header RateLimit-Policy says of them. */
export type Policies = { policies: readonly Policy[]; atOnce: number; header: string };

// The caller first: what one caller is refused does not take from the others of its tenant.
const order = ["caller", "tenant"] as const;
const kinds = ["reads", "writes", "bulks"] as const;

const upper = <Text extends string>(text: Text) => text.toUpperCase() as Uppercase<Text>;

function policiesOf(tier: LimitedTier, kind: RequestKind): Policies {
  const policies = order.map((counted): Policy => {
    const limit = rateLimits[tier][kind][counted];
    return {
      counted,
      limit,
      pace: pacedKinds.includes(kind) ? paceOf(limit) : undefined,
      binding: `LIMIT_${upper(tier)}_${upper(counted)}_${upper(kind)}`,
    };
  });
  // draft-ietf-httpapi-ratelimit-headers-10, section 3.
  const header = policies
    .map(({ counted, limit }) => `"${counted}-${kind}";q=${limit};w=${windowSeconds}`)
    .join(", ");
  return { policies, atOnce: rateLimits[tier][kind].atOnce, header };
}

/** At once the share of a second and one: who is told to wait a second loses nothing of what comes meanwhile. */
function paceOf(limit: number): Pace {
  return {
    everyMs: (windowSeconds * 1_000) / limit,
    most: Math.ceil(limit / windowSeconds) + 1,
  };
}

const limitedTiers = ["low", "standard", "high"] as const satisfies LimitedTier[];
const table = new Map<string, Policies>(
  limitedTiers.flatMap((tier) =>
    kinds.map((kind) => [`${tier} ${kind}`, policiesOf(tier, kind)] as const),
  ),
);

/** @returns undefined for a tier without limits */
export function limitsOf(tier: RateTier, kind: RequestKind): Policies | undefined {
  return table.get(`${tier} ${kind}`);
}

/**
 * Every binding, in the order of wrangler.toml, with its requests in a window: where they are paced, with what
 * may come at once besides, so that who keeps the pace of one isolate is never stopped for a whole window.
 */
export function allRateLimits(): [name: string, limit: number][] {
  const tiers = [...table.values()].flatMap(({ policies }) => policies);
  return [
    ...tiers.map(({ binding, limit, pace }): [string, number] => [
      binding,
      limit + (pace?.most ?? 0),
    ]),
    [keyLookupBinding, keyLookupLimit],
  ];
}
