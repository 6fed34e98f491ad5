import type { ReceivedMessage, Sqs } from "../aws/sqs.ts";
import type { Database } from "../db/client.ts";
import { recordDeadLetters } from "../db/dead-letters.ts";
import type { DeadLetterQueue } from "../events/dead-letter.ts";
import { reasonOf } from "../platform/errors.ts";
import type { Logger } from "../platform/logger.ts";

/**
 * What becomes of a message: it is deleted, comes again later, goes to the dead-letter queue, or is given
 * back because what the work needs failed as a whole, which is no fault of the message.
 */
export type Outcome =
  | { message: ReceivedMessage; to: "delete" }
  | { message: ReceivedMessage; to: "retry"; delaySeconds: number }
  | { message: ReceivedMessage; to: "dead-letter"; body: string; reason: string }
  | { message: ReceivedMessage; to: "give-back"; error: unknown };

/**
 * A message that has come this often is left to the sweep, before its count takes it to the dead-letter
 * queue: SQS moves it at the sixth receive. Nothing is lost by that, for a message is only a claim check.
 */
export const lastReceive = 4;

/** How long a message rests that was given back: 30 s, 60 s, 120 s. The breaker decides when any is received. */
export const giveBackSeconds = (receiveCount: number) => 15 * 2 ** receiveCount;

export type SettleTools = {
  db: Database;
  sqs: Sqs;
  queueUrl: string;
  /** The name under which its dead letters are kept. */
  queueName: DeadLetterQueue;
  logger: Logger;
  giveBackSeconds: (receiveCount: number) => number;
};

/**
 * Does with each message what was found.
 *
 * @returns the error for which messages were given back, undefined where none was
 */
export async function settleMessages(
  tools: SettleTools,
  outcomes: readonly Outcome[],
): Promise<{ error: unknown } | undefined> {
  const { sqs, queueUrl, logger } = tools;
  const buried = await bury(
    tools,
    outcomes.filter((outcome) => outcome.to === "dead-letter"),
  );
  const givenBack = outcomes.filter((outcome) => outcome.to === "give-back");
  const isLast = ({ message }: Outcome) => message.receiveCount >= lastReceive;
  for (const outcome of givenBack) {
    logger.warning("given_back", {
      message_id: outcome.message.messageId,
      receive_count: outcome.message.receiveCount,
      to: isLast(outcome) ? "sweep" : "queue",
      reason: reasonOf(outcome.error),
    });
  }
  const done = [
    ...outcomes.filter((outcome) => outcome.to === "delete"),
    ...buried,
    ...givenBack.filter(isLast),
  ].map(({ message }) => message);
  if (done.length > 0) {
    const kept = await sqs.delete(queueUrl, done);
    if (kept.length > 0)
      logger.warning("delete_failed", { messages: kept.map((message) => message.messageId) });
  }
  const later = [
    ...outcomes.filter((outcome) => outcome.to === "retry"),
    ...givenBack
      .filter((outcome) => !isLast(outcome))
      .map(({ message }) => ({
        message,
        delaySeconds: tools.giveBackSeconds(message.receiveCount),
      })),
  ];
  if (later.length > 0) await sqs.retryLater(queueUrl, later);
  return givenBack[0] && { error: givenBack[0].error };
}

/** Writes down what cannot be processed, and sends it to the dead-letter queue. Returns what arrived there: only that may be deleted. */
async function bury(
  { db, sqs, queueName, queueUrl, logger }: SettleTools,
  dead: Extract<Outcome, { to: "dead-letter" }>[],
): Promise<Outcome[]> {
  if (dead.length === 0) return [];
  const deadLetterQueue = await sqs.deadLetterQueue(queueUrl);
  for (const { message, reason } of dead) {
    logger.error("dead_letter", {
      message_id: message.messageId,
      reason,
      queue: deadLetterQueue ?? "none",
    });
  }
  // First: what is sent twice after a failure in between is one dead letter still.
  const letters = dead.map(({ message, body, reason }) => {
    const { messageId, receiveCount, firstReceivedAt: firstFailedAt } = message;
    return { messageId, receiveCount, firstFailedAt, body, reason };
  });
  await recordDeadLetters(db, queueName, letters);
  if (deadLetterQueue === undefined) return [];
  const entries = dead.map((outcome) => ({
    body: outcome.body,
    // That of the tenant, so that it stays fair when it is sent back.
    groupId: outcome.message.groupId ?? "dead-letters",
    outcome,
  }));
  const refused = new Set(await sqs.send(deadLetterQueue, entries));
  return entries.filter((entry) => !refused.has(entry)).map((entry) => entry.outcome);
}
