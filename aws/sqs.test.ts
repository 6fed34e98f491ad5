import { afterEach, describe, expect, test, vi } from "vitest";
import { newQueue, newQueueWithoutDeadLetters, sqs, sqsConfig } from "../test/workers/queues.ts";
import { nowhere } from "../test/workers/tools.ts";
import { connectSqs } from "./sqs.ts";
import { SqsError } from "./sqs-answers.ts";

const messages = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ body: `{"n":${n}}`, groupId: "acme" }));

async function refusal(asked: Promise<unknown>): Promise<SqsError> {
  const error = await asked.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof SqsError)) throw new Error(`was not refused: ${String(error)}`);
  return error;
}

describe("a queue", () => {
  test("gives what was sent, until it is deleted", async () => {
    const { url } = await newQueue();
    expect(await sqs.send(url, [{ body: '{"é":"\\u00e9"}', groupId: "acme" }])).toEqual([]);
    const [message, ...more] = await sqs.receive(url, 30);
    expect(more).toEqual([]);
    expect(message).toMatchObject({ body: '{"é":"\\u00e9"}', receiveCount: 1 });
    expect(Math.abs((message?.sentAt ?? 0) - Date.now())).toBeLessThan(10_000);
    expect(await sqs.depth(url)).toEqual({ waiting: 0, inFlight: 1 });
    expect(await sqs.delete(url, message ? [message] : [])).toEqual([]);
    expect(await sqs.depth(url)).toEqual({ waiting: 0, inFlight: 0 });
  });

  test("takes and deletes more than ten at a time, though a call holds ten", async () => {
    const { url } = await newQueue();
    expect(await sqs.send(url, messages(23))).toEqual([]);
    expect(await sqs.depth(url)).toEqual({ waiting: 23, inFlight: 0 });
    const all = [];
    while (all.length < 23) all.push(...(await sqs.receive(url, 30)));
    expect(all.map((message) => message.body).toSorted()).toEqual(
      messages(23)
        .map((message) => message.body)
        .toSorted(),
    );
    expect(await sqs.delete(url, all)).toEqual([]);
    expect(await sqs.depth(url)).toEqual({ waiting: 0, inFlight: 0 });
  });

  test("gives a message again at the time that is asked for, and counts", async () => {
    const { url } = await newQueue();
    await sqs.send(url, messages(2));
    const received = await sqs.receive(url, 30);
    const delays = received.map((message, n) => ({ message, delaySeconds: n === 0 ? 0 : 900 }));
    expect(await sqs.retryLater(url, delays)).toEqual([]);
    const again = await sqs.receive(url, 30);
    expect(again.map((message) => [message.messageId, message.receiveCount])).toEqual([
      [received[0]?.messageId, 2],
    ]);
    expect(await sqs.depth(url)).toEqual({ waiting: 0, inFlight: 2 });
  });

  test("names its dead-letter queue where it has one", async () => {
    const { url, deadLetters } = await newQueue();
    expect(await sqs.deadLetterQueue(url)).toBe(deadLetters);
    expect(await sqs.deadLetterQueue(await newQueueWithoutDeadLetters())).toBeUndefined();
  });

  test("is not asked where there is nothing to send or delete", async () => {
    const fetch = vi.spyOn(globalThis, "fetch");
    const url = "http://no.such.queue";
    expect(
      await Promise.all([sqs.send(url, []), sqs.delete(url, []), sqs.retryLater(url, [])]),
    ).toEqual([[], [], []]);
    expect(fetch).not.toHaveBeenCalled();
  });
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** A queue of no server: what is asked of it is told from what pollers of other tests ask meanwhile. */
const elsewhere = "http://sqs.example";
const lost = connectSqs({ ...sqsConfig, endpoint: elsewhere });
const callsOf = (fetch: { mock: { calls: unknown[][] } }) =>
  fetch.mock.calls.filter(([input]) => input instanceof Request && input.url.startsWith(elsewhere));

describe("a call that fails", () => {
  const answer = (body: BodyInit, status = 200) =>
    vi.spyOn(globalThis, "fetch").mockImplementation(async () => new Response(body, { status }));

  test("of a queue that is not there says with which status", async () => {
    const error = await refusal(sqs.depth(`${sqsConfig.endpoint}/000000000000/no-such-queue`));
    expect(error.status).toBe(400);
    expect(error.message).toMatch(/^GetQueueAttributes was answered with 400: /);
  });

  test("by no connection has no status, and keeps the cause", async () => {
    const error = await refusal(
      connectSqs({ ...sqsConfig, endpoint: nowhere }).send("q", messages(1)),
    );
    expect(error).toMatchObject({ message: "SendMessageBatch had no answer", status: undefined });
    expect(error.cause).toBeDefined();
  });

  test("by no answer in time is given up", async () => {
    vi.spyOn(globalThis, "fetch").mockImplementation(
      (input) =>
        new Promise((_, reject) => {
          const { signal } = input as Request;
          signal.addEventListener("abort", () => reject(signal.reason));
        }),
    );
    const error = await refusal(connectSqs(sqsConfig, 50).depth("q"));
    expect(error).toMatchObject({ message: "GetQueueAttributes had no answer", status: undefined });
  });

  test.each([429, 500, 503])("with %i is tried three times, and then given up", async (status) => {
    const fetch = answer("busy", status);
    expect((await refusal(lost.send("q", messages(1)))).status).toBe(status);
    expect(callsOf(fetch)).toHaveLength(3);
  });

  test("because SQS throttles is tried again, and by a bad request is not", async () => {
    const body = (type: string) => JSON.stringify({ __type: `com.amazonaws.sqs#${type}` });
    const throttling = answer(body("RequestThrottled"), 400);
    await refusal(lost.depth("q"));
    expect(callsOf(throttling)).toHaveLength(3);
    vi.restoreAllMocks();
    const refusing = answer(body("QueueDoesNotExist"), 400);
    await refusal(lost.depth("q"));
    expect(callsOf(refusing)).toHaveLength(1);
  });

  test("once is made good by the next try", async () => {
    const { url } = await newQueue();
    const real = globalThis.fetch;
    const sends: string[] = [];
    vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
      const request = new Request(input, init);
      const text = await request.clone().text();
      if (!text.includes(url)) return real(request);
      sends.push(text);
      if (sends.length === 1) throw new Error("connection reset");
      return real(request);
    });
    expect(await sqs.send(url, messages(1))).toEqual([]);
    expect(sends).toHaveLength(2);
    expect(await sqs.depth(url)).toEqual({ waiting: 1, inFlight: 0 });
  });

  test("is never longer under way than its timeout, however often it is tried", async () => {
    answer("busy", 503);
    const began = Date.now();
    await refusal(connectSqs(sqsConfig, 20).depth("q"));
    expect(Date.now() - began).toBeLessThan(500);
  });

  test("is not tried again before the time that SQS asks for, nor at all where that is too long", async () => {
    const fetch = vi
      .spyOn(globalThis, "fetch")
      .mockImplementation(
        async () => new Response("busy", { status: 503, headers: { "Retry-After": "60" } }),
      );
    await refusal(lost.depth("q"));
    expect(callsOf(fetch)).toHaveLength(1);
  });

  test("to receive is not tried again: what a lost answer has taken comes back by itself", async () => {
    const fetch = answer("busy", 503);
    expect((await refusal(lost.receive("q", 30))).status).toBe(503);
    expect(callsOf(fetch)).toHaveLength(1);
  });

  /** Answers batches with these failures, one after the other. Returns the ids that each batch had. */
  function answerBatches(failures: object[][]): string[][] {
    const sent: string[][] = [];
    vi.spyOn(globalThis, "fetch").mockImplementation(async (input) => {
      const request = input as Request;
      if (!request.url.startsWith(elsewhere)) return new Response("busy", { status: 503 });
      const { Entries } = (await request.json()) as { Entries: { Id: string }[] };
      sent.push(Entries.map((one) => one.Id));
      return Response.json({ Failed: failures.shift() ?? [] });
    });
    return sent;
  }

  test("for some entries of a batch gives back those that are the sender's fault, of every batch", async () => {
    const [one, nine, none] = ["1", "9", "0"].map((Id) => ({ Id, Code: "x", SenderFault: true }));
    const batches = answerBatches([[one ?? {}, { ...nine, Message: null }], [], [none ?? {}]]);
    const sent = messages(21);
    expect(await lost.send("q", sent)).toEqual([sent[1], sent[9], sent[20]]);
    expect(batches).toHaveLength(3);
  });

  test("for some entries of a batch tries those again that SQS itself failed", async () => {
    const fault = (Id: string, SenderFault: boolean) => ({ Id, Code: "x", SenderFault });
    const batches = answerBatches([
      [fault("0", false), fault("1", true), fault("2", false)],
      [fault("2", false)],
      [fault("2", false)],
    ]);
    const sent = messages(4);
    expect(await lost.send("q", sent)).toEqual([sent[1], sent[2]]);
    expect(batches).toEqual([["0", "1", "2", "3"], ["0", "2"], ["2"]]);
  });

  test.each(["<html>", "[]", '{"Messages":[{"Body":1}]}', '{"Messages":{}}'])(
    "for it is answered with %s, rejects",
    async (body) => {
      answer(body);
      await expect(sqs.receive("q", 30)).rejects.toBeInstanceOf(Error);
    },
  );

  test("with an empty answer has no messages and no failures", async () => {
    answer("");
    expect(await sqs.receive("q", 30)).toEqual([]);
    expect(await sqs.send("q", messages(1))).toEqual([]);
    expect(await sqs.depth("q")).toEqual({ waiting: 0, inFlight: 0 });
  });

  test("shows no secret in its error", async () => {
    answer("x".repeat(10_000), 403);
    const error = await refusal(sqs.depth("q"));
    expect(error.message.length).toBeLessThan(400);
    expect(error.message).not.toContain(sqsConfig.secretAccessKey);
  });
});
