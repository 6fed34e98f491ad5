import { DurableObject } from "cloudflare:workers";
import { connectSqs, type ReceivedMessage, type Sqs } from "../aws/sqs.ts";
import { connectDatabase } from "../db/client.ts";
import type { DeadLetterQueue } from "../events/dead-letter.ts";
import {
  afterAnswer,
  afterFailure,
  breakerPhase,
  type BreakerRules,
  type BreakerState,
  closedBreaker,
} from "../platform/breaker.ts";
import { type Config, parseConfig, requireSection, type SectionName } from "../platform/config.ts";
import { reasonOf } from "../platform/errors.ts";
import { createLogger, type Logger } from "../platform/logger.ts";
import type { PollerStatus } from "../platform/wakeable.ts";
import { type Helper, PollerTeam } from "./poller-team.ts";
import type { ScaleRules } from "./scale-pollers.ts";
import { giveBackSeconds, type Outcome, settleMessages } from "./settle-messages.ts";

/**
 * Work on received messages, in two steps. The promise of `handle` resolves when the work has let go of
 * its memory, and the next messages may be taken; `outcomes` when it is known what becomes of them.
 * `isSlow` where what the work needs took longer than it should.
 */
export type Handled = { outcomes: Promise<Outcome[]>; isSlow?: boolean };

/** Messages stay invisible for this long: longer than any work on them takes, where it does not ask for more. */
export const visibilitySeconds = 120;
/** Rounds of one alarm: each makes about six subrequests, of which an invocation has 1,000. */
const maxRounds = 120;
/** Batches whose outcome is awaited at the same time. */
const maxOpenBatches = 100;
const fullPauseMs = 1_000;

export const defaultPace = {
  /** An alarm works for this long and then hands over to the next, far below the limit of 15 minutes. */
  turnMs: 60_000,
  /** Quiet for this long, a poller sleeps until it is woken. */
  idleMs: 60_000,
  /** The queue's depth is asked for at most this often. */
  scaleEveryMs: 5_000,
  /** See ScaleRules. */
  lowMs: 60_000,
  giveBackSeconds,
};

export type Pace = typeof defaultPace;

const breakerRules: BreakerRules = {
  failuresToOpen: 1,
  slowToOpen: 3,
  firstOpenMs: 1_000,
  maxOpenMs: 60_000,
  // A turn probes by itself, one at a time.
  probeMs: 0,
};

/**
 * The receive, handle, delete loop of one queue, in the alarms of a Durable Object: there is one such
 * object in the world for a name, so one name is one poller. When the queue stays empty it sleeps without
 * an alarm, until the API or the watchdog wakes it. The first poller calls others to help by the depth.
 */
export abstract class QueuePoller extends DurableObject<object> {
  /** In memory only: a restart ends the turn, and the alarm begins another. */
  private polling = false;
  private lastSign = 0;
  private isDismissed = false;
  private breaker = closedBreaker;
  private readonly team: PollerTeam;

  protected readonly config: Config;
  protected readonly logger: Logger;
  protected readonly pace: Pace = defaultPace;

  constructor(
    context: DurableObjectState,
    env: object,
    loggerName: string,
    sections: readonly SectionName[],
  ) {
    super(context, env);
    this.config = parseConfig(env, sections);
    this.logger = createLogger(loggerName, this.config.logLevel);
    const helper = (name: string) => this.helper(name);
    this.team = new PollerTeam({ storage: context.storage, logger: this.logger, helper });
  }

  /** The name under which its dead letters are kept. */
  protected abstract readonly queueName: DeadLetterQueue;
  /** The queue to poll; undefined, and the poller sleeps, where that or what the work needs is not configured. */
  protected abstract queueUrl(): string | undefined;
  protected abstract handle(messages: ReceivedMessage[]): Promise<Handled>;
  /** Messages that wait for each poller before another helps. */
  protected abstract readonly messagesEach: number;
  /** Another poller of the queue, by its name. */
  protected abstract helper(name: string): DurableObjectStub<Helper>;
  /** Throws while what the work needs does not answer. Asked after a failure, before anything is received. */
  protected abstract probe(): Promise<void>;

  /** How many messages may be received now, at most 10. */
  protected messageLimit(): number {
    return 10;
  }

  /** Whether the turn must end because of what it has used up. */
  protected isSpent(): boolean {
    return false;
  }

  /** See Wakeable. */
  async wake(): Promise<void> {
    this.lastSign = Date.now();
    if (this.polling) return;
    await this.ctx.storage.put("last_activity_at", this.lastSign);
    await this.pollUnlessOpen();
  }

  /** See Wakeable. */
  async status(): Promise<PollerStatus> {
    const alarm = await this.ctx.storage.getAlarm();
    const stored = (await this.ctx.storage.get<number>("last_activity_at")) ?? 0;
    const wanted = await this.team.wanted();
    return {
      pollers: this.polling || alarm !== null ? wanted : 0,
      lastActivityAt: Math.max(stored, this.lastSign) || null,
    };
  }

  /** Polls beside the first poller until the queue stays empty, or it is told to rest. */
  async help(): Promise<void> {
    this.isDismissed = false;
    this.lastSign = Date.now();
    if (this.polling) return;
    await this.ctx.storage.put("is_helper", true);
    await this.pollUnlessOpen();
  }

  /** Ends helping, after the batch that is under way. */
  async rest(): Promise<void> {
    this.isDismissed = true;
    if (!this.polling) await this.ctx.storage.deleteAlarm();
  }

  /** Nothing shortens what the breaker waits. */
  private async pollUnlessOpen(): Promise<void> {
    const breaker = await this.ctx.storage.get<BreakerState>("breaker");
    const now = Date.now();
    const openUntil = breaker?.openUntil ?? 0;
    // Further ahead than it ever is: the clock was set back, which must not keep a poller asleep.
    const isOpen = openUntil > now && openUntil - now <= breakerRules.maxOpenMs;
    await this.ctx.storage.setAlarm(isOpen ? openUntil : now);
  }

  override async alarm(): Promise<void> {
    if (this.isDismissed) return this.sleep();
    // Set first: whatever happens in this turn, there is a next one.
    await this.ctx.storage.setAlarm(Date.now() + this.pace.turnMs * 2);
    this.polling = true;
    try {
      const isIdle = await this.takeTurn();
      await this.ctx.storage.delete("breaker");
      // From here on a wake sets the alarm itself; one that came before has left its sign.
      this.polling = false;
      const isQuiet = isIdle && Date.now() - this.lastSign >= this.pace.idleMs;
      if (isQuiet || this.isDismissed) await this.sleep();
      else await this.ctx.storage.setAlarm(Date.now());
    } catch (error) {
      this.polling = false;
      await this.backOff(error);
    }
  }

  private async sleep(): Promise<void> {
    await this.ctx.storage.deleteAlarm();
    await this.team.disband();
  }

  private async backOff(error: unknown): Promise<void> {
    this.breaker = afterFailure(this.breaker, breakerRules, Date.now());
    const { openings, openUntil } = this.breaker;
    await this.ctx.storage.put("breaker", this.breaker);
    await this.ctx.storage.setAlarm(openUntil);
    this.logger.error("poll_failed", {
      reason: reasonOf(error),
      failures: openings,
      retry_in_ms: Math.max(0, openUntil - Date.now()),
    });
  }

  /** Polls until the turn is over. Returns whether the queue has been empty for so long that the poller may sleep. */
  private async takeTurn(): Promise<boolean> {
    const queueUrl = this.queueUrl();
    if (queueUrl === undefined) {
      this.logger.error("misconfigured", { problems: this.config.problems });
      this.lastSign = 0;
      return true;
    }
    const sqs = connectSqs(requireSection(this.config, "sqs"));
    const { storage } = this.ctx;
    const isHelper = (await storage.get("is_helper")) === true;
    this.breaker = (await storage.get<BreakerState>("breaker")) ?? closedBreaker;
    // Each receive counts towards the dead-letter queue: healthy messages must not pay for an outage.
    if (this.breaker.openings > 0) await this.probe();
    const stored = (await storage.get<number>("last_activity_at")) ?? Date.now();
    this.lastSign = Math.max(this.lastSign, stored);
    const turn: Turn = { began: Date.now(), open: new Set(), failure: undefined };
    try {
      for (let round = 0; round < maxRounds && this.goesOn(turn); round++) {
        const limit = this.messageLimit();
        if (limit === 0) {
          await Promise.race([...turn.open, pause(fullPauseMs)]);
          continue;
        }
        const messages = await sqs.receive(queueUrl, visibilitySeconds, limit);
        if (!isHelper) {
          const depth = () => sqs.depth(queueUrl);
          const isBusy = messages.length > 0;
          await this.team.follow(depth, this.scaleRules(), this.pace.scaleEveryMs, isBusy);
        }
        if (messages.length === 0) {
          if (Date.now() - this.lastSign >= this.pace.idleMs) return true;
          continue;
        }
        this.lastSign = Date.now();
        await this.work(sqs, queueUrl, messages, turn);
      }
    } finally {
      await Promise.all(turn.open);
      await storage.put("last_activity_at", this.lastSign);
    }
    if (turn.failure !== undefined) throw turn.failure.error;
    return false;
  }

  private goesOn({ began, failure }: Turn): boolean {
    const isOver = Date.now() - began >= this.pace.turnMs || this.isSpent();
    return failure === undefined && !isOver && !this.isDismissed;
  }

  /** Handles a batch, and settles it beside the next ones; after a failure one batch alone is the trial. */
  private async work(
    sqs: Sqs,
    queueUrl: string,
    messages: ReceivedMessage[],
    turn: Turn,
  ): Promise<void> {
    const { outcomes, isSlow = false } = await this.handle(messages);
    const tools = {
      db: connectDatabase(requireSection(this.config, "database")),
      sqs,
      queueName: this.queueName,
      queueUrl,
      logger: this.logger,
      giveBackSeconds: this.pace.giveBackSeconds,
    };
    const settle = async (): Promise<void> => {
      try {
        const failure = await settleMessages(tools, await outcomes);
        if (failure) turn.failure = failure;
        else this.countAnswer(isSlow, turn);
      } catch (error) {
        turn.failure = { error };
      }
    };
    const settled = settle();
    turn.open.add(settled);
    void settled.finally(() => turn.open.delete(settled));
    if (this.breaker.openings > 0) await settled;
    else if (turn.open.size >= maxOpenBatches) await Promise.race(turn.open);
  }

  private countAnswer(isSlow: boolean, turn: Turn): void {
    this.breaker = afterAnswer(this.breaker, breakerRules, Date.now(), isSlow);
    if (breakerPhase(this.breaker, Date.now()) === "open")
      turn.failure = { error: new Error("what the work needs answers too slowly") };
  }

  private scaleRules(): ScaleRules {
    const max = this.config.sections.pollers?.max ?? 1;
    return { max, messagesEach: this.messagesEach, lowMs: this.pace.lowMs };
  }
}

type Turn = {
  began: number;
  /** Batches whose outcome is not known yet. */
  open: Set<Promise<void>>;
  failure: { error: unknown } | undefined;
};

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
