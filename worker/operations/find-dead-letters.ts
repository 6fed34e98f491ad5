import { connectSqs, type ReceivedMessage, type Sqs } from "../../aws/sqs.ts";
import type { Database } from "../../db/client.ts";
import {
  type DeadMessage,
  lookUpLetters,
  readOrphanedFailures,
  recordFoundLetters,
} from "../../db/dead-letters.ts";
import { deadLetterId, type DeadLetterQueue, deadWork } from "../../events/dead-letter.ts";
import { indexMessagesFor } from "../../events/messages.ts";
import type { SqsConfig } from "../../platform/config.ts";

/** A queue and its dead-letter queue, for one request. */
export type Graveyard = {
  queue: DeadLetterQueue;
  sqs: Sqs;
  sourceUrl: string;
  /** Undefined where the queue has none. */
  deadUrl: string | undefined;
  maxReceiveCount: number;
};

/** Longer than a request takes. What is held is let go of before it ends. */
const holdSeconds = 60;
const waitSeconds = 1;
const orphansAtOnce = 1_000;

export async function graveyardOf(queue: DeadLetterQueue, config: SqsConfig): Promise<Graveyard> {
  const sqs = connectSqs(config);
  const sourceUrl = queue === "log" ? config.logQueueUrl : config.exportQueueUrl;
  const policy = await sqs.redrivePolicy(sourceUrl);
  return {
    queue,
    sqs,
    sourceUrl,
    deadUrl: policy?.deadLetterQueue,
    maxReceiveCount: policy?.maxReceiveCount ?? 0,
  };
}

/**
 * Takes messages out of the dead-letter queue for a moment: the caller deletes them, or lets go of them.
 *
 * @returns them, and how many more there are, approximately
 */
export async function holdMessages(
  { sqs, deadUrl }: Graveyard,
  limit: number,
): Promise<{ held: ReceivedMessage[]; more: number }> {
  if (deadUrl === undefined) return { held: [], more: 0 };
  const { waiting } = await sqs.depth(deadUrl);
  const held: ReceivedMessage[] = [];
  while (held.length < Math.min(waiting, limit)) {
    const messages = await sqs.receive(
      deadUrl,
      holdSeconds,
      Math.min(10, limit - held.length),
      waitSeconds,
    );
    if (messages.length === 0) return { held, more: 0 };
    held.push(...messages);
  }
  return { held, more: Math.max(0, waiting - held.length) };
}

/** Lets others see messages again at once. */
export async function letGo(
  { sqs, deadUrl }: Graveyard,
  held: readonly ReceivedMessage[],
): Promise<void> {
  if (deadUrl === undefined) return;
  await sqs.retryLater(
    deadUrl,
    held.map((message) => ({ message, delaySeconds: 0 })),
  );
}

/**
 * Writes down what of the held messages the database does not know: SQS moved those by itself. One that was
 * sent back already, by a redrive that was cut off before it could delete it, is deleted now.
 *
 * @returns the messages that are dead letters
 */
export async function recordHeld(
  db: Database,
  graveyard: Graveyard,
  held: readonly ReceivedMessage[],
): Promise<ReceivedMessage[]> {
  const { queue, sqs, deadUrl, maxReceiveCount } = graveyard;
  if (held.length === 0 || deadUrl === undefined) return [];
  const found = await lookUpLetters(
    db,
    queue,
    held.map((message) => message.body),
  );
  const isLeftOver = ({ body, sentAt }: ReceivedMessage) => {
    const redrivenAt = found.redrivenAt.get(deadLetterId(queue, body));
    const namesWork = deadWork(queue, body).tenantId !== null;
    return namesWork && redrivenAt !== undefined && sentAt !== undefined && sentAt < redrivenAt;
  };
  const [leftOver, dead] = [held.filter(isLeftOver), held.filter((one) => !isLeftOver(one))];
  await sqs.delete(deadUrl, leftOver);
  const messages = dead.map(({ messageId, body, receiveCount, firstReceivedAt }): DeadMessage => ({
    messageId,
    body,
    receiveCount,
    firstFailedAt: firstReceivedAt,
    reason:
      found.reasons.get(deadLetterId(queue, body)) ??
      `received ${maxReceiveCount} times without an end`,
  }));
  await recordFoundLetters(db, queue, messages);
  return dead;
}

/** Writes down logs that the index refused and that no dead letter names. */
export async function recordOrphans(db: Database): Promise<void> {
  const orphans = await readOrphanedFailures(db, orphansAtOnce);
  const letters = [...Map.groupBy(orphans, ({ tenantId }) => tenantId)].flatMap(
    ([tenantId, failures]) => {
      const ids = failures.map(({ logId }) => logId);
      const reason = failures[0]?.reason ?? "";
      return indexMessagesFor(tenantId, ids, "").map(({ body }): DeadMessage => ({
        messageId: "",
        body,
        reason,
        receiveCount: 0,
      }));
    },
  );
  await recordFoundLetters(db, "log", letters);
}
