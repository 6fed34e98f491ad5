import { sql } from "drizzle-orm";
import type { ReceivedMessage } from "../../aws/sqs.ts";
import { asRole, connectDatabase } from "../../db/client.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { withHopTimes } from "../../platform/hop-times.ts";
import { createLogger } from "../../platform/logger.ts";
import { withRetries } from "../../platform/retry.ts";
import { workerSections } from "../../platform/worker-sections.ts";
import { connectSearch } from "../../search/client.ts";
import { refreshIndices } from "../../search/index-logs.ts";
import { type Handled, QueuePoller } from "../poll-queue.ts";
import { watchQueue } from "../watch-queue.ts";
import { indexMessages, searchRetries } from "./index-messages.ts";
import { Refresher } from "./refresher.ts";

const sections = workerSections["audit-log-indexer"];
const loggerName = "consumer_log_consumer_logger";
const bulkTimeoutMs = 30_000;
const refreshEveryMs = 1_000;

type Env = { LOG_POLLER: DurableObjectNamespace<LogPoller> };

/** Polls SQS_LOG_QUEUE_URL and indexes what its messages name. */
export class LogPoller extends QueuePoller {
  protected override readonly queueName = "log";
  private readonly refresher = new Refresher(
    (aliases) => withRetries(searchRetries, () => refreshIndices(this.connectSearch(), aliases)),
    refreshEveryMs,
  );
  private readonly pollers: Env["LOG_POLLER"];
  /** One poller indexes about 100 messages a second: 2 s of its work. */
  protected override readonly messagesEach = 200;

  constructor(context: DurableObjectState, env: Env) {
    super(context, env, loggerName, sections);
    this.pollers = env.LOG_POLLER;
  }

  protected override helper(name: string) {
    return this.pollers.getByName(name);
  }

  protected override queueUrl(): string | undefined {
    const { database, search, sqs } = this.config.sections;
    return database && search && sqs?.logQueueUrl;
  }

  protected override async probe(): Promise<void> {
    await this.connectSearch().cluster.health({ timeout: "5s" });
    const db = connectDatabase(requireSection(this.config, "database"));
    await asRole(db, "audit_indexer", [db.execute(sql`select 1`)]);
  }

  protected override handle(messages: ReceivedMessage[]): Promise<Handled> {
    const tools = {
      db: connectDatabase(requireSection(this.config, "database")),
      search: this.connectSearch(),
      refresher: this.refresher,
      logger: this.logger,
    };
    return withHopTimes(() => indexMessages(messages, tools));
  }

  private connectSearch() {
    return connectSearch(requireSection(this.config, "search"), bulkTimeoutMs);
  }
}

export default {
  async scheduled(_controller, env) {
    const config = parseConfig(env, sections);
    const logger = createLogger(loggerName, config.logLevel);
    await watchQueue("logQueueUrl", env.LOG_POLLER, config, logger);
  },
} satisfies ExportedHandler<Env>;
