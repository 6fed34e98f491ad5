import { z } from "zod";
import type { ReceivedMessage, Sqs } from "../../aws/sqs.ts";
import type { Answered } from "./fault-proxy.ts";

const receiveCall = z.object({ QueueUrl: z.string() });
const received = z.object({
  Messages: z
    .array(z.object({ MessageId: z.string(), ReceiptHandle: z.string(), Body: z.string() }))
    .optional(),
});
const deleteCall = z.object({
  Entries: z.array(z.object({ Id: z.string(), ReceiptHandle: z.string() })),
});
const deleted = z.object({ Successful: z.array(z.object({ Id: z.string() })).optional() });

type Held = { queueUrl: string; message: ReceivedMessage; isDelivered: boolean };

/**
 * Knows by the SQS proxy which messages were received and not deleted, so that two minutes of their
 * visibility timeout can pass in no time.
 */
export class QueueWatch {
  /** By message: a new receipt replaces the one before. */
  readonly #held = new Map<string, Held>();

  /** To be told of every answer of the SQS proxy. */
  onAnswer({ call, status, answer, isDelivered }: Answered): void {
    if (status !== 200) return;
    if (call.name === "ReceiveMessage") {
      const { QueueUrl: queueUrl } = receiveCall.parse(parse(call.body));
      for (const { MessageId, ReceiptHandle, Body } of received.parse(parse(answer)).Messages ?? [])
        this.#held.set(MessageId, {
          queueUrl,
          isDelivered,
          message: {
            messageId: MessageId,
            receiptHandle: ReceiptHandle,
            body: Body,
            receiveCount: 1,
          },
        });
    }
    if (call.name === "DeleteMessageBatch") {
      const done = new Set((deleted.parse(parse(answer)).Successful ?? []).map(({ Id }) => Id));
      for (const { Id, ReceiptHandle } of deleteCall.parse(parse(call.body)).Entries)
        if (done.has(Id)) this.#forget(ReceiptHandle);
    }
  }

  /**
   * Makes messages visible again at once, as after their visibility timeout.
   * @param which those whose answer reached no one, or all: then no one may be at work on them
   */
  async expire(sqs: Sqs, which: "undelivered" | "all"): Promise<void> {
    const chosen = [...this.#held.values()].filter((held) => which === "all" || !held.isDelivered);
    // Before they are visible: some poll takes them at once, under a new receipt.
    for (const { message } of chosen) this.#held.delete(message.messageId);
    for (const [queueUrl, held] of Map.groupBy(chosen, (one) => one.queueUrl))
      await sqs.retryLater(
        queueUrl,
        held.map(({ message }) => ({ message, delaySeconds: 0 })),
      );
  }

  #forget(receiptHandle: string): void {
    for (const [id, { message }] of this.#held)
      if (message.receiptHandle === receiptHandle) this.#held.delete(id);
  }
}

function parse(body: Buffer): unknown {
  return body.length === 0 ? {} : JSON.parse(body.toString());
}
