import { sql } from "drizzle-orm";
import { connectSqs } from "../../aws/sqs.ts";
import { readBacklog, recordBackpressure } from "../../db/backlog.ts";
import { asRole, connectDatabase } from "../../db/client.ts";
import { removeOldKeys } from "../../db/old-keys.ts";
import { type Config, parseConfig, requireSection } from "../../platform/config.ts";
import { workerSections } from "../../platform/worker-sections.ts";
import { reasonOf } from "../../platform/errors.ts";
import { createLogger, type LogFields, type Logger } from "../../platform/logger.ts";
import { firstPoller } from "../../platform/poller-names.ts";
import type { Wakeable } from "../../platform/wakeable.ts";
import { isTimeToWork } from "./is-time-to-work.ts";
import { removeFromIndex } from "./remove-from-index.ts";
import { continueRetention } from "./remove-old-logs.ts";
import { repairIndex } from "./reconcile.ts";
import { continueReindex } from "./reindex.ts";
import { sweepExports } from "./sweep-exports.ts";
import { sweepOutbox } from "./sweep-outbox.ts";

type Env = {
  LOG_POLLER: DurableObjectNamespace<Wakeable>;
  EXPORT_POLLER: DurableObjectNamespace<Wakeable>;
};
type Work = { config: Config; env: Env; logger: Logger; event: LogFields };

const jobs = {
  make_months: makeMonths,
  sweep_logs: sweepLogs,
  sweep_exports: sweepPipelines,
  watch_backlog: watchBacklog,
  remove_old_keys: removeKeys,
  remove_old_logs: continueRetention,
  // Before the comparison, which would find what is to go too many.
  remove_from_index: removeFromIndex,
  reindex: continueReindex,
  reconcile: repairIndex,
};

export default {
  /** Every minute, while something happens: makes the months ahead, and sends again what has waited for too long. */
  async scheduled({ scheduledTime }, env) {
    const config = parseConfig(env, workerSections["audit-log-maintenance"]);
    const logger = createLogger("maintenance_logger", config.logLevel);
    const pollers = [env.LOG_POLLER, env.EXPORT_POLLER];
    if (!(await isTimeToWork(scheduledTime, config.sections.sqs, pollers))) return;
    const began = Date.now();
    const event: LogFields = {};
    for (const [name, job] of Object.entries(jobs)) {
      const jobBegan = Date.now();
      try {
        await job({ config, env, logger, event });
      } catch (error) {
        logger.error("maintenance_failed", { job: name, reason: reasonOf(error) });
      }
      event[`${name}_ms`] = Date.now() - jobBegan;
    }
    logger.info("maintenance", { ...event, duration_ms: Date.now() - began });
  },
} satisfies ExportedHandler<Env>;

async function makeMonths({ config }: Work): Promise<void> {
  const db = connectDatabase(requireSection(config, "database"));
  await asRole(db, "audit_maintenance", [db.execute(sql`select ensure_partition()`)]);
}

async function sweepLogs({ config, env, logger, event }: Work): Promise<void> {
  // Without OpenSearch no one would read what a sweep sends.
  if (!config.sections.search) return;
  const db = connectDatabase(requireSection(config, "database"));
  const sqs = requireSection(config, "sqs");
  const sent = await sweepOutbox(db, connectSqs(sqs), sqs.logQueueUrl);
  event["logs_swept"] = sent;
  if (sent === 0) return;
  logger.warning("outbox_swept", { logs: sent });
  await env.LOG_POLLER.getByName(firstPoller).wake();
}

async function sweepPipelines({ config, env, logger, event }: Work): Promise<void> {
  const db = connectDatabase(requireSection(config, "database"));
  const sqs = requireSection(config, "sqs");
  const sent = await sweepExports(db, connectSqs(sqs), sqs.exportQueueUrl);
  event["exports_swept"] = sent;
  if (sent === 0) return;
  logger.warning("exports_swept", { exports: sent });
  await env.EXPORT_POLLER.getByName(firstPoller).wake();
}

const removalMs = 10_000;

async function removeKeys({ config, event }: Work): Promise<void> {
  const db = connectDatabase(requireSection(config, "database"));
  event["old_keys_removed"] = await removeOldKeys(db, Date.now() + removalMs);
}

/** Says once when the index falls far behind what is written, and once when it has caught up. */
async function watchBacklog({ config, logger, event }: Work): Promise<void> {
  // Without OpenSearch the outbox keeps everything, and is not behind.
  if (!config.sections.search) return;
  const db = connectDatabase(requireSection(config, "database"));
  const backlog = await readBacklog(db);
  const fields = {
    "outbox.logs": backlog.logs,
    "outbox.oldest_age_seconds": backlog.oldestAgeSeconds,
    backpressure: backlog.backpressure,
  };
  Object.assign(event, fields);
  const change = await recordBackpressure(db, backlog);
  if (change)
    logger.warning(`backpressure_${change.event}`, {
      ...fields,
      after_seconds: change.afterSeconds,
    });
}
