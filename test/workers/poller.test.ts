import { runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ReceivedMessage } from "../../aws/sqs.ts";
import { defaultPace, type Handled } from "../../consumers/poll-queue.ts";
import type { Outcome } from "../../consumers/settle-messages.ts";
import {
  endWait,
  newPoller,
  nextTurn,
  pollers,
  receiveAtOnce,
  restPollers,
  send,
  stored,
} from "./pollers.ts";
import { drain, newQueue, newQueueWithoutDeadLetters, sqs } from "./queues.ts";

/** The events of the log, as objects. */
let events: Record<string, unknown>[] = [];
beforeEach(() => {
  events = [];
  for (const level of ["log", "warn", "error"] as const) {
    vi.spyOn(console, level).mockImplementation((line) => void events.push(JSON.parse(line)));
  }
});
afterEach(async () => {
  await restPollers();
  vi.restoreAllMocks();
});

/** Handles messages by their text: "retry", "dead-letter", or anything else, which is done. */
const byText = async (messages: ReceivedMessage[]): Promise<Handled> => ({
  outcomes: Promise.resolve(
    messages.map((message): Outcome => {
      if (message.body === "retry") return { message, to: "retry", delaySeconds: 0 };
      if (message.body === "dead")
        return { message, to: "dead-letter", body: "grave", reason: "for the test" };
      return { message, to: "delete" };
    }),
  ),
});

describe("a poller", () => {
  /** Wakes a poller, and returns the texts that it has handled so far. */
  async function startPoller(url: string): Promise<string[]> {
    const handled: string[] = [];
    const stub = await newPoller({
      queueUrl: () => url,
      handle: (messages) => {
        handled.push(...messages.map((message) => message.body));
        return byText(messages);
      },
    });
    await stub.wake();
    return handled;
  }

  test("deletes what is done, keeps what is to be tried again, buries what is dead", async () => {
    const { url, deadLetters } = await newQueue();
    await send(url, ["done", "dead", "retry"]);
    const handled = await startPoller(url);
    await vi.waitFor(async () => {
      expect(handled.filter((body) => body !== "retry").toSorted()).toEqual(["dead", "done"]);
      expect(handled.filter((body) => body === "retry").length).toBeGreaterThan(1);
      expect((await sqs.depth(deadLetters)).waiting).toBeGreaterThan(0);
    }, 10_000);
    // "retry" reaches the dead letters too, by its receive count.
    expect(await drain(deadLetters)).toContain("grave");
  });

  test("buries a message in the group of its tenant, so that it stays fair when it is sent back", async () => {
    const { url, deadLetters } = await newQueue();
    await send(url, ["dead"]);
    const sent: unknown[] = [];
    const real = globalThis.fetch;
    vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
      const request = new Request(input, init);
      if (request.headers.get("X-Amz-Target") === "AmazonSQS.SendMessageBatch")
        sent.push(await request.clone().json());
      return real(request);
    });
    const stub = await newPoller({
      queueUrl: () => url,
      // As SQS itself gives it back; the stand-in does not.
      handle: (messages) => byText(messages.map((message) => ({ ...message, groupId: "acme" }))),
    });
    await stub.wake();
    await vi.waitFor(async () => expect((await sqs.depth(deadLetters)).waiting).toBe(1), 10_000);
    expect(sent).toMatchObject([{ Entries: [{ MessageBody: "grave", MessageGroupId: "acme" }] }]);
  });

  test("does not delete what it cannot bury", async () => {
    const url = await newQueueWithoutDeadLetters();
    await send(url, ["dead"]);
    const handled = await startPoller(url);
    await vi.waitFor(() => expect(handled).toEqual(["dead"]), 10_000);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const { waiting, inFlight } = await sqs.depth(url);
    expect(waiting + inFlight).toBe(1);
  });

  test("is woken though it was to wait for hours: the clock was set back", async () => {
    const stub = await newPoller({ queueUrl: () => undefined });
    const openUntil = Date.now() + 3_600_000;
    await runInDurableObject(stub, async (_, { storage }) => {
      await storage.put("breaker", { failures: 0, slow: 0, openings: 1, openUntil, probeUntil: 0 });
      await storage.setAlarm(openUntil);
    });
    await stub.wake();
    await runInDurableObject(stub, async (_, { storage }) => {
      const alarm = (await storage.getAlarm()) ?? 0;
      expect(alarm).toBeLessThan(Date.now() + 300_000);
    });
  });

  test("backs off longer after each failure, and a wake does not shorten it", async () => {
    const { url } = await newQueue();
    await send(url, ["one"]);
    const stub = await newPoller({
      queueUrl: () => url,
      handle: () => Promise.reject(new Error("the work failed")),
      probe: async () => {},
    });
    await stub.wake();
    await vi.waitFor(async () => expect((await stored(stub)).breaker).toBeDefined(), 10_000);
    const waits: number[] = [];
    for (let n = 1; n < 9; n++) {
      const { alarm, breaker } = await stored(stub);
      expect(breaker?.openings).toBe(n);
      expect(alarm).toBe(breaker?.openUntil);
      await stub.wake();
      expect((await stored(stub)).alarm).toBe(alarm);
      waits.push((breaker?.openUntil ?? 0) - Date.now());
      await sqs.send(url, [{ body: "again", groupId: "g" }]);
      await nextTurn(stub);
    }
    const longest = [1, 2, 4, 8, 16, 32, 60, 60].map((seconds) => seconds * 1_000);
    for (const [n, ms] of longest.entries()) {
      expect(waits[n]).toBeLessThanOrEqual(ms);
      expect(waits[n]).toBeGreaterThan(ms / 2 - 500);
    }
  });

  test("receives nothing while what it needs does not answer", async () => {
    const { url } = await newQueue();
    await send(url, ["healthy"]);
    let received = 0;
    const handle = async (messages: ReceivedMessage[]) => {
      received += messages.length;
      throw new Error("the work failed");
    };
    const stub = await newPoller({ queueUrl: () => url, handle }, pollers.DEAF_POLLER);
    await stub.wake();
    await vi.waitFor(async () => expect((await stored(stub)).breaker?.openings).toBe(1), 10_000);
    await nextTurn(stub);
    await nextTurn(stub);
    expect((await stored(stub)).breaker?.openings).toBe(3);
    expect(received).toBe(1);
  });

  test("sleeps while its configuration is not whole, and says so", async () => {
    const stub = await newPoller({ queueUrl: () => undefined });
    await stub.wake();
    await vi.waitFor(async () => expect((await stored(stub)).alarm).toBeNull(), 10_000);
    expect((await stored(stub)).breaker).toBeUndefined();
    expect(events).toContainEqual(expect.objectContaining({ event: "misconfigured" }));
  });

  const quick = { ...defaultPace, idleMs: 100, scaleEveryMs: 0, lowMs: 100 };

  test("sleeps without an alarm when the queue stays empty, and polls again when it is woken", async () => {
    receiveAtOnce();
    const { url } = await newQueue();
    const handled: string[] = [];
    const stub = await newPoller({
      queueUrl: () => url,
      pace: quick,
      handle: (messages) => {
        handled.push(...messages.map((message) => message.body));
        return byText(messages);
      },
    });
    expect(await stub.status()).toEqual({ pollers: 0, lastActivityAt: null });
    const began = Date.now();
    await stub.wake();
    expect((await stub.status()).pollers).toBe(1);
    await vi.waitFor(async () => expect((await stub.status()).pollers).toBe(0), 10_000);
    expect((await stored(stub)).alarm).toBeNull();
    await send(url, ["one"]);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(handled).toEqual([]);
    await stub.wake();
    await vi.waitFor(() => expect(handled).toEqual(["one"]), 10_000);
    await vi.waitFor(async () => expect((await stored(stub)).alarm).toBeNull(), 10_000);
    const { lastActivityAt } = await stub.status();
    expect(lastActivityAt).toBeGreaterThan(began);
    // Asking woke nothing.
    expect((await stored(stub)).alarm).toBeNull();
  });

  test("remembers when it was last active, though its object was restarted", async () => {
    const { url } = await newQueue();
    const stub = await newPoller({ queueUrl: () => url });
    await stub.wake();
    const { lastActivityAt } = await stub.status();
    await runInDurableObject(stub, (poller) => Object.assign(poller, { lastSign: 0 }));
    expect(await stub.status()).toMatchObject({ lastActivityAt });
  });

  test("leaves what it needs alone for a while when it answers too slowly, and goes on with one batch", async () => {
    const { url } = await newQueue();
    await send(
      url,
      Array.from({ length: 60 }, (_, n) => String(n)),
    );
    let batches = 0;
    let isSlow = true;
    const stub = await newPoller({
      queueUrl: () => url,
      probe: async () => {},
      handle: async (messages) => {
        batches++;
        return { ...(await byText(messages)), isSlow };
      },
    });
    await stub.wake();
    await vi.waitFor(async () => expect((await stored(stub)).breaker?.openings).toBe(1), 10_000);
    expect(batches).toBeGreaterThanOrEqual(3);
    expect(events).toContainEqual(
      expect.objectContaining({ event: "poll_failed", reason: expect.stringContaining("slow") }),
    );
    const before = batches;
    await nextTurn(stub);
    expect(batches).toBe(before + 1);
    expect((await stored(stub)).breaker?.openings).toBe(2);
    isSlow = false;
    await endWait(stub);
    await stub.wake();
    await vi.waitFor(async () => expect((await sqs.depth(url)).waiting).toBe(0), 10_000);
  });
});
