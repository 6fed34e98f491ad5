import { sql } from "drizzle-orm";
import { connectSqs } from "../../aws/sqs.ts";
import { asRole, connectDatabase } from "../../db/client.ts";
import { type Config, parseConfig, requireSection } from "../../platform/config.ts";
import { reasonOf } from "../../platform/errors.ts";
import { createLogger, type Logger } from "../../platform/logger.ts";
import { firstPoller } from "../../platform/poller-names.ts";
import type { Wakeable } from "../../platform/wakeable.ts";
import { continueReindex } from "./reindex.ts";
import { repairIndex } from "./reconcile.ts";
import { sweepExports } from "./sweep-exports.ts";
import { sweepOutbox } from "./sweep-outbox.ts";

type Env = {
  LOG_POLLER: DurableObjectNamespace<Wakeable>;
  EXPORT_POLLER: DurableObjectNamespace<Wakeable>;
};

export default {
  /** Every minute: makes the months ahead, and sends again what has waited for too long. */
  async scheduled(_controller, env) {
    const config = parseConfig(env);
    const logger = createLogger("maintenance_logger", config.logLevel);
    for (const job of [makeMonths, sweepLogs, sweepPipelines, continueReindex, repairIndex]) {
      try {
        await job(config, env, logger);
      } catch (error) {
        logger.error("maintenance_failed", { job: job.name, reason: reasonOf(error) });
      }
    }
  },
} satisfies ExportedHandler<Env>;

async function makeMonths(config: Config): Promise<void> {
  const db = connectDatabase(requireSection(config, "database"));
  await asRole(db, "audit_maintenance", [db.execute(sql`select ensure_partition()`)]);
}

async function sweepLogs(config: Config, env: Env, logger: Logger): Promise<void> {
  // Without OpenSearch no one would read what a sweep sends.
  if (!config.sections.search) return;
  const db = connectDatabase(requireSection(config, "database"));
  const sqs = requireSection(config, "sqs");
  const sent = await sweepOutbox(db, connectSqs(sqs), sqs.logQueueUrl);
  if (sent === 0) return;
  logger.warning("outbox_swept", { logs: sent });
  await env.LOG_POLLER.getByName(firstPoller).wake();
}

async function sweepPipelines(config: Config, env: Env, logger: Logger): Promise<void> {
  const db = connectDatabase(requireSection(config, "database"));
  const sqs = requireSection(config, "sqs");
  const sent = await sweepExports(db, connectSqs(sqs), sqs.exportQueueUrl);
  if (sent === 0) return;
  logger.warning("exports_swept", { exports: sent });
  await env.EXPORT_POLLER.getByName(firstPoller).wake();
}
