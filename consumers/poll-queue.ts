import { DurableObject } from "cloudflare:workers";
import { connectSqs, type ReceivedMessage, type Sqs } from "../aws/sqs.ts";
import { connectDatabase } from "../db/client.ts";
import { recordDeadLetters } from "../db/dead-letters.ts";
import type { DeadLetterQueue } from "../events/dead-letter.ts";
import { type Config, parseConfig, requireSection } from "../platform/config.ts";
import { reasonOf } from "../platform/errors.ts";
import { createLogger, type Logger } from "../platform/logger.ts";

/** What becomes of a message: it is deleted, comes again later, or goes to the dead-letter queue. */
export type Outcome =
  | { message: ReceivedMessage; to: "delete" }
  | { message: ReceivedMessage; to: "retry"; delaySeconds: number }
  | { message: ReceivedMessage; to: "dead-letter"; body: string; reason: string };

/**
 * Work on received messages, in two steps. The promise of `handle` resolves when the work has let go of
 * its memory, and the next messages may be taken; `outcomes` when it is known what becomes of them.
 */
export type Handled = { outcomes: Promise<Outcome[]> };

/** Messages stay invisible for this long: longer than any work on them takes, where it does not ask for more. */
export const visibilitySeconds = 120;
/** An alarm works for this long and then hands over to the next, far below the limit of 15 minutes. */
const turnMs = 60_000;
/** Rounds of one alarm: each makes about six subrequests, of which an invocation has 1,000. */
const maxRounds = 150;
/** Batches whose outcome is awaited at the same time. */
const maxOpenBatches = 100;
const idleBeforeSleepMs = 60_000;
const sleepMs = 5 * 60_000;
const backoffMs = { first: 1_000, most: 60_000 };

/**
 * The receive, handle, delete loop of one queue, in the alarms of a Durable Object: there is one such
 * object in the world for a name, so one name is one poller. It sleeps when the queue stays empty, and
 * is woken by the API after a send.
 */
export abstract class QueuePoller extends DurableObject<object> {
  /** In memory only: a restart ends the turn, and the alarm begins another. */
  private polling = false;
  private lastSign = 0;

  protected readonly config: Config;
  protected readonly logger: Logger;

  constructor(context: DurableObjectState, env: object, loggerName: string) {
    super(context, env);
    this.config = parseConfig(env);
    this.logger = createLogger(loggerName, this.config.logLevel);
    if (this.config.problems.length > 0) {
      this.logger.error("misconfigured", { problems: this.config.problems });
    }
  }

  /** The name under which its dead letters are kept. */
  protected abstract readonly queueName: DeadLetterQueue;
  /** The queue to poll; undefined, and the poller sleeps, where that or what the work needs is not configured. */
  protected abstract queueUrl(): string | undefined;
  protected abstract handle(messages: ReceivedMessage[]): Promise<Handled>;
  /** How many messages may be received now, at most 10. At none the turn ends. */
  protected messageLimit(): number {
    return 10;
  }

  /** Throws while what the work needs does not answer. Asked after a failure, before anything is received. */
  protected abstract probe(): Promise<void>;

  /** Makes sure that the poller polls for the next minute at least, unless it waits after an error. */
  async wake(): Promise<void> {
    this.lastSign = Date.now();
    if (this.polling) return;
    const resumeAt = (await this.ctx.storage.get<number>("resume_at")) ?? 0;
    if (resumeAt > Date.now()) return;
    await this.ctx.storage.setAlarm(Date.now());
  }

  override async alarm(): Promise<void> {
    // Set first: whatever happens in this turn, there is a next one.
    await this.ctx.storage.setAlarm(Date.now() + turnMs * 2);
    this.polling = true;
    try {
      const isIdle = await this.takeTurn();
      await this.ctx.storage.delete(["failures", "resume_at"]);
      // From here on a wake sets the alarm itself; one that came before has left its sign.
      this.polling = false;
      const maySleep = isIdle && Date.now() - this.lastSign >= idleBeforeSleepMs;
      await this.ctx.storage.setAlarm(Date.now() + (maySleep ? sleepMs : 0));
    } catch (error) {
      this.polling = false;
      await this.backOff(error);
    }
  }

  private async backOff(error: unknown): Promise<void> {
    const failures = ((await this.ctx.storage.get<number>("failures")) ?? 0) + 1;
    const ceiling = Math.min(backoffMs.first * 2 ** (failures - 1), backoffMs.most);
    const delay = Math.round(ceiling / 2 + (Math.random() * ceiling) / 2);
    const resumeAt = Date.now() + delay;
    await this.ctx.storage.put({ failures, resume_at: resumeAt });
    await this.ctx.storage.setAlarm(resumeAt);
    this.logger.error("poll_failed", { reason: reasonOf(error), failures, retry_in_ms: delay });
  }

  /** Polls until the turn is over. Returns whether the queue has been empty for so long that the poller may sleep. */
  private async takeTurn(): Promise<boolean> {
    const queueUrl = this.queueUrl();
    if (queueUrl === undefined) {
      this.lastSign = 0;
      return true;
    }
    const sqs = connectSqs(requireSection(this.config, "sqs"));
    const began = Date.now();
    // Each receive counts towards the dead-letter queue: healthy messages must not pay for an outage.
    if ((await this.ctx.storage.get<number>("failures")) !== undefined) await this.probe();
    this.lastSign = Math.max(
      this.lastSign,
      (await this.ctx.storage.get<number>("last_message_at")) ?? began,
    );
    const open = new Set<Promise<void>>();
    const turn: { failure?: unknown } = {};
    try {
      for (
        let round = 0;
        round < maxRounds && Date.now() - began < turnMs && turn.failure === undefined;
        round++
      ) {
        const limit = this.messageLimit();
        if (limit === 0) break;
        const messages = await sqs.receive(queueUrl, visibilitySeconds, limit);
        if (messages.length === 0) {
          if (Date.now() - this.lastSign >= idleBeforeSleepMs) return true;
          continue;
        }
        this.lastSign = Date.now();
        const handled = await this.handle(messages);
        const settled = this.settle(sqs, queueUrl, handled).catch((error: unknown) => {
          turn.failure = error;
        });
        open.add(settled);
        void settled.finally(() => open.delete(settled));
        if (open.size >= maxOpenBatches) await Promise.race(open);
      }
    } finally {
      await Promise.all(open);
    }
    if (turn.failure !== undefined) throw turn.failure;
    await this.ctx.storage.put("last_message_at", this.lastSign);
    return false;
  }

  private async settle(sqs: Sqs, queueUrl: string, handled: Handled): Promise<void> {
    const outcomes = await handled.outcomes;
    const buried = await this.bury(
      sqs,
      queueUrl,
      outcomes.filter((outcome) => outcome.to === "dead-letter"),
    );
    const done = [...outcomes.filter((outcome) => outcome.to === "delete"), ...buried].map(
      ({ message }) => message,
    );
    if (done.length > 0) {
      const kept = await sqs.delete(queueUrl, done);
      if (kept.length > 0)
        this.logger.warning("delete_failed", {
          messages: kept.map((message) => message.messageId),
        });
    }
    const retried = outcomes.filter((outcome) => outcome.to === "retry");
    if (retried.length > 0) await sqs.retryLater(queueUrl, retried);
  }

  /** Writes down what cannot be processed, and sends it to the dead-letter queue. Returns what arrived there: only that may be deleted. */
  private async bury(
    sqs: Sqs,
    queueUrl: string,
    dead: Extract<Outcome, { to: "dead-letter" }>[],
  ): Promise<Outcome[]> {
    if (dead.length === 0) return [];
    const deadLetterQueue = await sqs.deadLetterQueue(queueUrl);
    for (const { message, reason } of dead) {
      this.logger.error("dead_letter", {
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
    const db = connectDatabase(requireSection(this.config, "database"));
    await recordDeadLetters(db, this.queueName, letters);
    if (deadLetterQueue === undefined) return [];
    const entries = dead.map((outcome) => ({
      body: outcome.body,
      groupId: "dead-letters",
      outcome,
    }));
    const refused = new Set(await sqs.send(deadLetterQueue, entries));
    return entries.filter((entry) => !refused.has(entry)).map((entry) => entry.outcome);
  }
}
