import type { Context } from "hono";
import { connectSqs } from "../../aws/sqs.ts";
import { exportMessageFor } from "../../events/messages.ts";
import { reasonOf } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { wakePoller } from "../wake-poller.ts";

/** After the answer: tells the exporter of an export. What is not sent here is sent by the sweep. */
export function publishExport(c: Context<AppEnv>, exportId: string): void {
  c.executionCtx.waitUntil(publish(c, exportId));
}

async function publish(c: Context<AppEnv>, exportId: string): Promise<void> {
  const { caller, config, logger, requestId } = c.var;
  const { sqs } = config.sections;
  if (!sqs) return;
  const send = async (): Promise<void> => {
    const message = exportMessageFor(caller.tenantId, exportId, requestId);
    const failed = await connectSqs(sqs).send(sqs.exportQueueUrl, [message]);
    if (failed.length > 0) throw new Error("SQS did not take the message");
  };
  for (const step of [send, () => wakePoller(c, "EXPORT_POLLER")]) {
    try {
      await step();
    } catch (error) {
      logger.warning("publish_failed", {
        request_id: requestId,
        tenant_id: caller.tenantId,
        export_id: exportId,
        reason: reasonOf(error),
      });
    }
  }
}
