import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, test, vi } from "vitest";
import type { ReceivedMessage } from "../../aws/sqs.ts";
import type { Handled, QueuePoller } from "../../consumers/poll-queue.ts";
import type { Outcome } from "../../consumers/settle-messages.ts";
import type { BreakerState } from "../../platform/breaker.ts";
import { drain, newQueue, newQueueWithoutDeadLetters, sqs } from "./queues.ts";

type Namespace = DurableObjectNamespace<QueuePoller & Rpc.DurableObjectBranded>;
type Stub = DurableObjectStub<QueuePoller & Rpc.DurableObjectBranded>;
const bindings = env as unknown as { LOG_POLLER: Namespace; DEAF_POLLER: Namespace };

/** A poller of its own, whose queue and work a test sets. Its alarm runs only when the test says so. */
async function newPoller(
  url: string,
  handle: (messages: ReceivedMessage[]) => Promise<Handled>,
  from = bindings.LOG_POLLER,
) {
  const stub = from.getByName(crypto.randomUUID());
  await runInDurableObject(stub, (poller) =>
    Object.assign(poller, { queueUrl: () => url, handle }),
  );
  return stub;
}

const stored = (stub: Stub) =>
  runInDurableObject(stub, async (_poller, state) => ({
    alarm: await state.storage.getAlarm(),
    breaker: await state.storage.get<BreakerState>("breaker"),
  }));

/** Runs a poller's alarm as if what its breaker waits were over. */
async function nextTurn(stub: Stub): Promise<void> {
  await runInDurableObject(stub, async (_poller, { storage }) => {
    const breaker = await storage.get<BreakerState>("breaker");
    if (breaker) await storage.put("breaker", { ...breaker, openUntil: Date.now() });
  });
  await runDurableObjectAlarm(stub);
}

const send = (url: string, bodies: string[]) =>
  sqs.send(
    url,
    bodies.map((body) => ({ body, groupId: "g" })),
  );

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
    const stub = await newPoller(url, (messages) => {
      handled.push(...messages.map((message) => message.body));
      return byText(messages);
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

  test("does not delete what it cannot bury", async () => {
    const url = await newQueueWithoutDeadLetters();
    await send(url, ["dead"]);
    const handled = await startPoller(url);
    await vi.waitFor(() => expect(handled).toEqual(["dead"]), 10_000);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const { waiting, inFlight } = await sqs.depth(url);
    expect(waiting + inFlight).toBe(1);
  });

  test("backs off longer after each failure, and a wake does not shorten it", async () => {
    const { url } = await newQueue();
    await send(url, ["one"]);
    const stub = await newPoller(url, () => Promise.reject(new Error("the work failed")));
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
    const stub = await newPoller(
      url,
      async (messages) => {
        received += messages.length;
        throw new Error("the work failed");
      },
      bindings.DEAF_POLLER,
    );
    await stub.wake();
    await vi.waitFor(async () => expect((await stored(stub)).breaker?.openings).toBe(1), 10_000);
    await nextTurn(stub);
    await nextTurn(stub);
    expect((await stored(stub)).breaker?.openings).toBe(3);
    expect(received).toBe(1);
  });

  test("sleeps while its configuration is not whole", async () => {
    const stub = bindings.LOG_POLLER.getByName(crypto.randomUUID());
    await runInDurableObject(stub, (poller) =>
      Object.assign(poller, { queueUrl: () => undefined }),
    );
    await stub.wake();
    await vi.waitFor(async () => expect((await stored(stub)).alarm).toBeNull(), 10_000);
    expect((await stored(stub)).breaker).toBeUndefined();
  });
});
