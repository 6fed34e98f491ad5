import { reasonOf } from "../platform/errors.ts";
import type { Logger } from "../platform/logger.ts";
import { pollerName } from "../platform/poller-names.ts";
import { within } from "../platform/within.ts";
import {
  neededPollers,
  onePoller,
  type ScaleRules,
  type Scaling,
  wantedPollers,
} from "./scale-pollers.ts";

/** What the first poller of a queue asks of the others. */
export type Helper = Rpc.DurableObjectBranded & { help(): Promise<void>; rest(): Promise<void> };

/** A poller answers as soon as it is there: its storage is its own. */
const callMs = 5_000;
const key = "scaling";

type Tools = {
  storage: DurableObjectStorage;
  logger: Logger;
  /** Another poller of the queue, by its name. */
  helper: (name: string) => DurableObjectStub<Helper>;
};

/** The pollers of a queue, as the first of them leads them. */
export class PollerTeam {
  private lastLooked = 0;
  private readonly tools: Tools;

  constructor(tools: Tools) {
    this.tools = tools;
  }

  /** How many there should be, the first included. */
  async wanted(): Promise<number> {
    return (await this.stored()).wanted;
  }

  /**
   * Calls pollers to help, or sends them away, by how many messages wait.
   *
   * @param everyMs looks at most this often
   * @param isBusy whether messages have just been received: while none are, there is no one to call
   */
  async follow(
    depth: () => Promise<{ waiting: number }>,
    rules: ScaleRules,
    everyMs: number,
    isBusy: boolean,
  ): Promise<void> {
    const now = Date.now();
    if (rules.max === 1 || now - this.lastLooked < everyMs) return;
    const before = await this.stored();
    if (!isBusy && before.wanted === 1) return;
    this.lastLooked = now;
    const { logger, storage } = this.tools;
    await this.unlessItFails(async () => {
      const { waiting } = await depth();
      const after = wantedPollers(waiting, now, before, rules);
      await storage.put(key, after);
      if (after.wanted !== before.wanted)
        logger.info("scaled", { pollers: after.wanted, before: before.wanted, waiting });
      // Each time, while there is work for them: one may have been restarted, or sleep.
      for (let n = 1; n < neededPollers(waiting, rules); n++)
        await within(callMs, this.helper(n).help());
      await this.sendAway(after.wanted, before.wanted);
    });
  }

  /** Sends all others away. Those that are not reached find the queue empty by themselves. */
  async disband(): Promise<void> {
    const { wanted } = await this.stored();
    await this.tools.storage.delete(key);
    await this.unlessItFails(() => this.sendAway(1, wanted));
  }

  /** @param to exclusive */
  private async sendAway(from: number, to: number): Promise<void> {
    for (let n = from; n < to; n++) await within(callMs, this.helper(n).rest());
  }

  private async stored(): Promise<Scaling> {
    return (await this.tools.storage.get<Scaling>(key)) ?? onePoller;
  }

  private helper(n: number): DurableObjectStub<Helper> {
    return this.tools.helper(pollerName(n));
  }

  /** Polling goes on without help. */
  private async unlessItFails(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.tools.logger.warning("scale_failed", { reason: reasonOf(error) });
    }
  }
}
