import { afterEach, describe, expect, test, vi } from "vitest";
import { newQueue, newQueueWithoutDeadLetters, sqs, sqsConfig } from "../test/workers/queues.ts";
import { nowhere } from "../test/workers/tools.ts";
import { connectSqs, SqsError } from "./sqs.ts";

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

describe("a call that fails", () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });
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

  test("is not repeated: the sweep and the visibility timeout do that", async () => {
    for (const status of [429, 500, 503]) {
      const fetch = answer("busy", status);
      expect((await refusal(sqs.send("q", messages(1)))).status).toBe(status);
      expect(fetch).toHaveBeenCalledOnce();
      vi.restoreAllMocks();
    }
  });

  test("for some entries of a batch gives back those, of every batch", async () => {
    const failures = [
      {
        Failed: [
          { Id: "1", Code: "InternalError" },
          { Id: "9", Code: "x", Message: null },
        ],
      },
      { Failed: [] },
      { Failed: [{ Id: "0", Code: "x" }] },
    ];
    vi.spyOn(globalThis, "fetch").mockImplementation(async () => Response.json(failures.shift()));
    const sent = messages(21);
    expect(await sqs.send("q", sent)).toEqual([sent[1], sent[9], sent[20]]);
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
