import { DurableObject } from "cloudflare:workers";
import type { ServiceFigures } from "../../db/counters.ts";
import { type Config, parseConfig } from "../../platform/config.ts";
import { createLogger, type Logger } from "../../platform/logger.ts";
import type { Bindings } from "../env.ts";
import { isAtRest, readFigures, readSigns, samplesOf, type Signs } from "./metrics-sources.ts";
import { metricsText } from "./metrics-text.ts";

/** The name of the one snapshot of a deployment. */
export const theSnapshot = "deployment";

/** Scrapes within this time see the same: no number of them loads the back ends. */
const keepMs = 5_000;
/** At rest the database is asked this seldom: a serverless one can suspend in between. */
const keepAtRestMs = 15 * 60_000;
const storageKey = "figures";

type Figures = { figures: ServiceFigures; readAt: number };
type Scrape = { signs: Signs; found: Figures | undefined; at: number };

/**
 * The figures of the whole deployment, behind GET /metrics. There is one such object in the world, so that
 * all isolates of the API show the same, and share what was read.
 */
export class MetricsSnapshot extends DurableObject<Bindings> {
  private readonly config: Config;
  private readonly logger: Logger;
  private last: Scrape | undefined;
  private underWay: Promise<Scrape> | undefined;

  constructor(context: DurableObjectState, env: Bindings) {
    super(context, env);
    this.config = parseConfig(env);
    this.logger = createLogger("api_logger", this.config.logLevel);
  }

  /** The metrics as Prometheus text. Of scrapes at the same time one asks, and all are answered. */
  async scrape(): Promise<string> {
    const isFresh = this.last !== undefined && Date.now() - this.last.at < keepMs;
    if (!isFresh) {
      this.underWay ??= this.read().finally(() => {
        this.underWay = undefined;
      });
      this.last = await this.underWay;
    }
    const { signs, found, at } = this.last ?? (await this.read());
    const oldest = Math.min(at, found?.readAt ?? at);
    return metricsText(samplesOf(signs, found?.figures, Date.now() - oldest));
  }

  private async read(): Promise<Scrape> {
    const signs = await readSigns(this.config, this.env, this.logger);
    const now = Date.now();
    const known = await this.knownFigures();
    if (known && now - known.readAt < keepAtRestMs && isAtRest(signs, now))
      return { signs, found: known, at: now };
    const figures = await readFigures(this.config, this.logger);
    const found = figures && { figures, readAt: Date.now() };
    if (found) await this.ctx.storage.put(storageKey, found);
    return { signs, found, at: Date.now() };
  }

  /** The last that were read: kept in storage too, since at rest the object itself is put away between scrapes. */
  private async knownFigures(): Promise<Figures | undefined> {
    return this.last?.found ?? (await this.ctx.storage.get<Figures>(storageKey));
  }
}
