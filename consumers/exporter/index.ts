import { sql } from "drizzle-orm";
import { connectS3 } from "../../aws/s3.ts";
import { connectSqs, type ReceivedMessage } from "../../aws/sqs.ts";
import { connectDatabase } from "../../db/client.ts";
import { parseExportMessage } from "../../events/messages.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { withHopTimes } from "../../platform/hop-times.ts";
import { createLogger } from "../../platform/logger.ts";
import { s3Log } from "../../platform/s3-log.ts";
import { workerSections } from "../../platform/worker-sections.ts";
import { connectSearch } from "../../search/client.ts";
import { type Handled, QueuePoller } from "../poll-queue.ts";
import type { Outcome } from "../settle-messages.ts";
import { watchQueue } from "../watch-queue.ts";
import { partBuffers } from "./part-cutter.ts";
import { streamedBody } from "./streamed-body.ts";
import { exportMessage, type ExportTools } from "./export-message.ts";

const sections = workerSections["audit-log-exporter"];
const loggerName = "consumer_export_consumer_logger";
const searchTimeoutMs = 20_000;
/** Exports side by side: each holds two parts and two pages, and an isolate has 128 MB. */
const maxExports = 3;
/** Longer than any slice. */
const forgetMs = 5 * 60_000;

/**
 * When each export began that is under way in this isolate: pollers may share one, and so its memory. One
 * whose object was stopped never ends here, and is forgotten after a while.
 */
const underWay = new Map<object, number>();

function exportsHere(): number {
  for (const [one, began] of underWay) if (Date.now() - began > forgetMs) underWay.delete(one);
  return underWay.size;
}

/** A message waits so long for a place, which is half of the time for which no one else sees it. */
const placeTimeoutMs = 60_000;
const placeEveryMs = 100;

/** Requests of one alarm after which nothing more is received. */
const maxRequests = 500;
/** Of an export's claim, its checks, its end and its message. */
const requestsAround = 15;

type Env = { EXPORT_POLLER: DurableObjectNamespace<ExportPoller> };

/** Polls SQS_EXPORT_QUEUE_URL and writes the exports that its messages name to S3. */
export class ExportPoller extends QueuePoller {
  protected override readonly queueName = "export";
  private readonly running = new Set<Promise<void>>();
  private readonly buffers = partBuffers();
  private readonly spent = { requests: 0 };
  private readonly pollers: Env["EXPORT_POLLER"];
  protected override readonly messagesEach = maxExports;

  constructor(context: DurableObjectState, env: Env) {
    super(context, env, loggerName, sections);
    this.pollers = env.EXPORT_POLLER;
  }

  protected override helper(name: string) {
    return this.pollers.getByName(name);
  }

  override async alarm(): Promise<void> {
    this.spent.requests = 0;
    await super.alarm();
  }

  protected override queueUrl(): string | undefined {
    const { database, s3, sqs } = this.config.sections;
    return database && s3 && sqs?.exportQueueUrl;
  }

  protected override messageLimit(): number {
    return Math.max(0, maxExports - exportsHere());
  }

  protected override isSpent(): boolean {
    return this.spent.requests > maxRequests;
  }

  protected override async probe(): Promise<void> {
    await connectDatabase(requireSection(this.config, "database")).execute(sql`select 1`);
  }

  protected override async handle(messages: ReceivedMessage[]): Promise<Handled> {
    const outcomes = Promise.all(messages.map((message) => this.export(message)));
    while (this.running.size >= maxExports) await Promise.race(this.running);
    return { outcomes };
  }

  private export(message: ReceivedMessage): Promise<Outcome> {
    this.spent.requests += requestsAround;
    const outcome = this.exportInPlace(message);
    const ended: Promise<void> = outcome.then(() => void this.running.delete(ended));
    this.running.add(ended);
    return outcome;
  }

  /** Pollers of an isolate that receive at the same moment have more messages than there are places. */
  private async exportInPlace(message: ReceivedMessage): Promise<Outcome> {
    for (const until = Date.now() + placeTimeoutMs; exportsHere() >= maxExports;) {
      if (Date.now() > until) return { message, to: "retry", delaySeconds: 1 };
      await new Promise((resolve) => setTimeout(resolve, placeEveryMs));
    }
    const place = {};
    underWay.set(place, Date.now());
    try {
      return await withHopTimes(() => exportMessage(message, this.tools(message)));
    } catch (error) {
      return { message, to: "give-back", error };
    } finally {
      underWay.delete(place);
    }
  }

  private s3Log({ body }: ReceivedMessage) {
    const { request_id, tenant_id, export_id } = parseExportMessage(body) ?? {};
    return s3Log(this.config.logLevel, { request_id, tenant_id, export_id });
  }

  protected tools(message: ReceivedMessage): ExportTools {
    const { search } = this.config.sections;
    const sqs = requireSection(this.config, "sqs");
    return {
      db: connectDatabase(requireSection(this.config, "database")),
      replica: this.config.sections.readDatabase?.replica,
      s3: connectS3(requireSection(this.config, "s3"), {
        onCall: this.s3Log(message),
        bodyOf: streamedBody,
      }),
      sqs: connectSqs(sqs),
      queueUrl: sqs.exportQueueUrl,
      search: search && connectSearch(search, searchTimeoutMs),
      logger: this.logger,
      buffers: this.buffers,
      spent: this.spent,
    };
  }
}

export default {
  async scheduled(_controller, env) {
    const config = parseConfig(env, sections);
    const logger = createLogger(loggerName, config.logLevel);
    await watchQueue("exportQueueUrl", env.EXPORT_POLLER, config, logger);
  },
} satisfies ExportedHandler<Env>;
