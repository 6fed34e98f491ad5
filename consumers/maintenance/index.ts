import { sql } from "drizzle-orm";
import { connectSqs } from "../../aws/sqs.ts";
import { asRole, connectDatabase } from "../../db/client.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { reasonOf } from "../../platform/errors.ts";
import { createLogger } from "../../platform/logger.ts";
import { firstPoller } from "../../platform/poller-names.ts";
import type { Wakeable } from "../../platform/wakeable.ts";
import { sweepOutbox } from "./sweep-outbox.ts";

type Env = { LOG_POLLER: DurableObjectNamespace<Wakeable> };

export default {
  /** Every minute: makes the months ahead, and sends again what the outbox has held for too long. */
  async scheduled(_controller, env) {
    const config = parseConfig(env);
    const logger = createLogger("maintenance_logger", config.logLevel);
    try {
      const db = connectDatabase(requireSection(config, "database"));
      await asRole(db, "audit_maintenance", [db.execute(sql`select ensure_partition()`)]);
      // Without OpenSearch no one would read what a sweep sends.
      if (!config.sections.search) return;
      const sqs = requireSection(config, "sqs");
      const sent = await sweepOutbox(db, connectSqs(sqs), sqs.logQueueUrl);
      if (sent === 0) return;
      logger.warning("outbox_swept", { logs: sent });
      await env.LOG_POLLER.getByName(firstPoller).wake();
    } catch (error) {
      logger.error("maintenance_failed", { reason: reasonOf(error) });
    }
  },
} satisfies ExportedHandler<Env>;
