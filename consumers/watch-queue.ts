import { connectSqs } from "../aws/sqs.ts";
import { type Config, requireSection } from "../platform/config.ts";
import { reasonOf } from "../platform/errors.ts";
import type { Logger } from "../platform/logger.ts";
import { firstPoller } from "../platform/poller-names.ts";

/** The watchdog: wakes the first poller of a queue where messages wait, whatever put it to sleep. */
export async function watchQueue(
  queue: "logQueueUrl" | "exportQueueUrl",
  pollers: { getByName(name: string): { wake(): Promise<void> } },
  config: Config,
  logger: Logger,
): Promise<void> {
  try {
    const sqs = requireSection(config, "sqs");
    const { waiting } = await connectSqs(sqs).depth(sqs[queue]);
    if (waiting > 0) await pollers.getByName(firstPoller).wake();
  } catch (error) {
    logger.error("watchdog_failed", { reason: reasonOf(error) });
  }
}
