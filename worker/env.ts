import type { Actor, Caller } from "./auth/caller.ts";
import type { Config } from "../platform/config.ts";
import type { LogFields, Logger } from "../platform/logger.ts";
import type { Wakeable } from "../platform/wakeable.ts";
import type { RateLimitBinding } from "./limits/rate-limits.ts";
import type { MetricsSnapshot } from "./operations/metrics-snapshot.ts";

/** The Worker's bindings. Variables and secrets are read by parseConfig only. */
export type Bindings = {
  LOG_POLLER: DurableObjectNamespace<Wakeable>;
  EXPORT_POLLER: DurableObjectNamespace<Wakeable>;
  METRICS: DurableObjectNamespace<MetricsSnapshot>;
  /** The parts of the docs page. */
  ASSETS: Fetcher;
  /** Which deployment runs; there only on Cloudflare. */
  CF_VERSION_METADATA?: WorkerVersionMetadata;
  /** Missing in a deployment that has none: then nothing is limited. */
} & { [Name in RateLimitBinding]?: RateLimit };

export type AppEnv = {
  Bindings: Bindings;
  Variables: {
    config: Config;
    requestId: string;
    logger: Logger;
    /** What the request's one log event says besides: filled as the request goes. */
    event: LogFields;
    /** Set where a route does not take anyone. */
    actor: Actor;
    /** Set where a route takes roles within a tenant, or the own admin. */
    caller: Caller;
    /** Set where a route takes a tenant's admin: null for a platform admin. */
    tenantAdmin: Caller | null;
  };
};
