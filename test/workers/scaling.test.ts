import { afterEach, describe, expect, test, vi } from "vitest";
import type { ReceivedMessage } from "../../aws/sqs.ts";
import { defaultPace, type Handled } from "../../consumers/poll-queue.ts";
import { firstPoller, pollerName } from "../../platform/poller-names.ts";
import { newPoller, pollers, receiveAtOnce, restPollers } from "./pollers.ts";
import { newQueue, sqs } from "./queues.ts";

afterEach(async () => {
  await restPollers();
  vi.restoreAllMocks();
});

const total = 10_000;
const most = 4;

async function fill(url: string): Promise<void> {
  const messages = Array.from({ length: total }, (_, n) => ({
    body: String(n),
    groupId: `tenant-${n % 7}`,
  }));
  const shares = Array.from({ length: 10 }, (_, n) => messages.slice(n * 1_000, (n + 1) * 1_000));
  const refused = await Promise.all(shares.map((share) => sqs.send(url, share)));
  expect(refused.flat()).toEqual([]);
}

describe("a backlog of 10,000 messages", () => {
  test("calls pollers to help, is drained by all of them, and lets them go", async () => {
    vi.spyOn(console, "log").mockImplementation(() => {});
    receiveAtOnce();
    const { url, deadLetters } = await newQueue();
    await fill(url);
    const prefix = crypto.randomUUID();
    const nameOf = (name: string) => `${prefix}-${name}`;
    const handled = new Map<string, number>();
    const bodies = new Set<string>();
    const settingsOf = (name: string) => ({
      queueUrl: () => url,
      helper: (other: string) => pollers.LOG_POLLER.getByName(nameOf(other)),
      messagesEach: 1_000,
      // A helper does not become idle here: it goes when it is sent away.
      pace: {
        ...defaultPace,
        idleMs: name === firstPoller ? 1_500 : 60_000,
        scaleEveryMs: 50,
        lowMs: 500,
      },
      handle: async (messages: ReceivedMessage[]): Promise<Handled> => {
        for (const { body } of messages) bodies.add(body);
        handled.set(name, (handled.get(name) ?? 0) + messages.length);
        const outcomes = messages.map((message) => ({ message, to: "delete" as const }));
        return { outcomes: Promise.resolve(outcomes) };
      },
    });
    const names = Array.from({ length: most + 1 }, (_, n) => pollerName(n));
    const stubs = await Promise.all(
      names.map((name) => newPoller(settingsOf(name), pollers.LOG_POLLER, nameOf(name))),
    );
    const [leader, ...helpers] = stubs;
    if (!leader) throw new Error("there is no first poller");
    expect(await leader.status()).toEqual({ pollers: 0, lastActivityAt: null });
    await leader.wake();
    await vi.waitFor(async () => expect((await leader.status()).pollers).toBe(most), {
      timeout: 20_000,
    });
    await vi.waitFor(() => expect(bodies.size).toBe(total), { timeout: 90_000, interval: 200 });
    // Each of the four did a good part, and no fifth was called.
    for (const name of names.slice(0, most)) expect(handled.get(name)).toBeGreaterThan(total / 20);
    expect(handled.has(pollerName(most))).toBe(false);
    expect([...handled.values()].reduce((sum, count) => sum + count)).toBe(total);
    await vi.waitFor(async () => expect((await leader.status()).pollers).toBe(1), {
      timeout: 20_000,
      interval: 50,
    });
    for (const stub of [leader, ...helpers]) {
      await vi.waitFor(async () => expect((await stub.status()).pollers).toBe(0), {
        timeout: 20_000,
      });
    }
    expect(await sqs.depth(url)).toEqual({ waiting: 0, inFlight: 0 });
    expect((await sqs.depth(deadLetters)).waiting).toBe(0);
  }, 180_000);
});
