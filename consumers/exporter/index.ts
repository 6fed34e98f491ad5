import { sql } from "drizzle-orm";
import { connectS3 } from "../../aws/s3.ts";
import { connectSqs, type ReceivedMessage } from "../../aws/sqs.ts";
import { connectDatabase } from "../../db/client.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { reasonOf } from "../../platform/errors.ts";
import { createLogger } from "../../platform/logger.ts";
import { firstPoller } from "../../platform/poller-names.ts";
import { connectSearch } from "../../search/client.ts";
import { type Handled, QueuePoller } from "../poll-queue.ts";
import { BufferPool } from "./buffer-pool.ts";
import { exportMessage, type ExportTools } from "./export-message.ts";

const loggerName = "consumer_export_consumer_logger";
const searchTimeoutMs = 20_000;
/** Exports side by side: each holds two parts and two pages, and an isolate has 128 MB. */
const maxExports = 3;
/** Requests of one alarm after which nothing more is received: it has 1,000. */
const maxRequests = 400;

type Env = { EXPORT_POLLER: DurableObjectNamespace<ExportPoller> };

/** Polls SQS_EXPORT_QUEUE_URL and writes the exports that its messages name to S3. */
export class ExportPoller extends QueuePoller {
  private readonly running = new Set<Promise<void>>();
  private readonly buffers = new BufferPool();
  private requests = 0;

  constructor(context: DurableObjectState, env: object) {
    super(context, env, loggerName);
  }

  override async alarm(): Promise<void> {
    this.requests = 0;
    await super.alarm();
  }

  protected override queueUrl(): string | undefined {
    const { database, s3, sqs } = this.config.sections;
    return database && s3 && sqs?.exportQueueUrl;
  }

  protected override messageLimit(): number {
    return this.requests > maxRequests ? 0 : maxExports - this.running.size;
  }

  protected override async probe(): Promise<void> {
    await connectDatabase(requireSection(this.config, "database")).execute(sql`select 1`);
  }

  protected override async handle(messages: ReceivedMessage[]): Promise<Handled> {
    const outcomes = allOf(messages.map((message) => this.export(message)));
    // The poll loop awaits it too, but only once a place is free.
    outcomes.catch(() => {});
    while (this.running.size >= maxExports) await Promise.race(this.running);
    return { outcomes };
  }

  private async export(message: ReceivedMessage) {
    const work = exportMessage(message, this.tools());
    const place: Promise<void> = Promise.allSettled([work]).then(() => {
      this.running.delete(place);
      return undefined;
    });
    this.running.add(place);
    const { outcome, requests } = await work;
    this.requests += requests;
    return outcome;
  }

  protected tools(): ExportTools {
    const { search } = this.config.sections;
    const sqs = requireSection(this.config, "sqs");
    return {
      db: connectDatabase(requireSection(this.config, "database")),
      s3: connectS3(requireSection(this.config, "s3")),
      sqs: connectSqs(sqs),
      queueUrl: sqs.exportQueueUrl,
      search: search && connectSearch(search, searchTimeoutMs),
      logger: this.logger,
      buffers: this.buffers,
    };
  }
}

/** Like Promise.all, but no sooner over than the last of them: a turn must not end before its work. */
async function allOf<T>(work: Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

export default {
  /** The watchdog: wakes the poller where messages wait, whatever put it to sleep. */
  async scheduled(_controller, env) {
    const config = parseConfig(env);
    const logger = createLogger(loggerName, config.logLevel);
    try {
      const sqs = requireSection(config, "sqs");
      const { waiting } = await connectSqs(sqs).depth(sqs.exportQueueUrl);
      if (waiting > 0) await env.EXPORT_POLLER.getByName(firstPoller).wake();
    } catch (error) {
      logger.error("watchdog_failed", { reason: reasonOf(error) });
    }
  },
} satisfies ExportedHandler<Env>;
