import type { Context } from "hono";
import { connectSqs } from "../aws/sqs.ts";
import type { MessageToSend } from "../events/messages.ts";
import { reasonOf } from "../platform/errors.ts";
import type { LogFields } from "../platform/logger.ts";
import type { AppEnv } from "./env.ts";
import { wakePoller } from "./wake-poller.ts";

const queues = {
  log: { url: "logQueueUrl", poller: "LOG_POLLER" },
  export: { url: "exportQueueUrl", poller: "EXPORT_POLLER" },
} as const;

/**
 * Sends messages to a queue and wakes its poller, whether or not they could be sent. Never throws: nothing
 * depends on it, for what is not sent here is sent by the sweep.
 *
 * @param fields what the messages are about, for the log event of a failure
 */
export async function sendAndWake(
  c: Context<AppEnv>,
  queue: keyof typeof queues,
  messages: readonly MessageToSend[],
  fields: LogFields,
): Promise<void> {
  const { config, logger } = c.var;
  const { sqs } = config.sections;
  if (!sqs) return;
  const { url, poller } = queues[queue];
  const send = async (): Promise<void> => {
    const failed = await connectSqs(sqs).send(sqs[url], messages);
    if (failed.length > 0) throw new Error(`SQS did not take ${failed.length} messages`);
  };
  for (const step of [send, () => wakePoller(c, poller)]) {
    try {
      await step();
    } catch (error) {
      logger.warning("publish_failed", { ...fields, reason: reasonOf(error) });
    }
  }
}
