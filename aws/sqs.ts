import { AwsClient } from "aws4fetch";
import { z } from "zod";
import type { MessageToSend } from "../events/messages.ts";
import type { SqsConfig } from "../platform/config.ts";

/** SQS refused a call, or did not answer. `status` is missing where no answer came. */
export class SqsError extends Error {
  readonly status: number | undefined;

  constructor(message: string, status?: number, cause?: unknown) {
    super(message, { cause });
    this.name = "SqsError";
    this.status = status;
  }
}

export type ReceivedMessage = {
  messageId: string;
  receiptHandle: string;
  body: string;
  /** How often it was received, this time included. */
  receiveCount: number;
  /** By the clock of SQS, in milliseconds since 1970; undefined where it does not say. */
  sentAt?: number | undefined;
  firstReceivedAt?: number | undefined;
};

/** One client for one request, for every queue of the account. */
export type Sqs = ReturnType<typeof connectSqs>;

/** Signing keys hold for a day: derived once, not for each request. */
const signingKeys = new Map<string, ArrayBuffer>();
const maxBatch = 10;
const longPollSeconds = 20;

const received = z.object({
  Messages: z
    .array(
      z.object({
        MessageId: z.string(),
        ReceiptHandle: z.string(),
        Body: z.string(),
        Attributes: z
          .object({
            ApproximateReceiveCount: z.coerce.number(),
            ApproximateFirstReceiveTimestamp: z.coerce.number(),
            SentTimestamp: z.coerce.number(),
          })
          .partial()
          .optional(),
      }),
    )
    .nullish(),
});
const batchResult = z.object({
  Failed: z
    .array(z.object({ Id: z.string(), Code: z.string(), Message: z.string().nullish() }))
    .nullish(),
});
/** What is asked of each message that is received. */
const messageAttributes = [
  "ApproximateReceiveCount",
  "ApproximateFirstReceiveTimestamp",
  "SentTimestamp",
];
const attributesResult = z.object({ Attributes: z.record(z.string(), z.string()).nullish() });
const redrivePolicyAttribute = z.object({
  deadLetterTargetArn: z.string(),
  maxReceiveCount: z.coerce.number(),
});
const queueUrlResult = z.object({ QueueUrl: z.string() });

/**
 * The calls of SQS that the service makes, in its JSON 1.0 protocol, signed. Nothing here retries: a
 * lost send is found by the outbox sweep, a lost delete by the visibility timeout.
 *
 * @param timeoutMs bound of every call; a long poll adds its own 20 s
 */
export function connectSqs(config: SqsConfig, timeoutMs = 5_000) {
  const aws = new AwsClient({
    accessKeyId: config.accessKeyId,
    secretAccessKey: config.secretAccessKey,
    region: config.region,
    service: "sqs",
    retries: 0,
    cache: signingKeys,
  });

  async function call(action: string, body: object, timeout = timeoutMs): Promise<unknown> {
    try {
      const response = await aws.fetch(`${config.endpoint}/`, {
        method: "POST",
        headers: {
          "Content-Type": "application/x-amz-json-1.0",
          "X-Amz-Target": `AmazonSQS.${action}`,
        },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(timeout),
      });
      const text = await response.text();
      if (!response.ok)
        throw new SqsError(
          `${action} was answered with ${response.status}: ${text.slice(0, 300)}`,
          response.status,
        );
      return text === "" ? {} : JSON.parse(text);
    } catch (error) {
      if (error instanceof SqsError) throw error;
      throw new SqsError(`${action} had no answer`, undefined, error);
    }
  }

  /** Runs a batch call for any number of entries, ten at a time. A batch answers 200 with entries that failed. */
  async function batch<T>(
    action: string,
    queueUrl: string,
    items: readonly T[],
    entry: (item: T) => object,
  ): Promise<T[]> {
    const failed: T[] = [];
    for (let at = 0; at < items.length; at += maxBatch) {
      const part = items.slice(at, at + maxBatch);
      const answer = batchResult.parse(
        await call(action, {
          QueueUrl: queueUrl,
          Entries: part.map((item, n) => ({ Id: String(n), ...entry(item) })),
        }),
      );
      const failedIds = new Set((answer.Failed ?? []).map((failure) => failure.Id));
      failed.push(...part.filter((_, n) => failedIds.has(String(n))));
    }
    return failed;
  }

  return {
    /**
     * Sends messages.
     * @returns those that SQS did not take
     */
    send: (queueUrl: string, entries: readonly MessageToSend[]) =>
      batch("SendMessageBatch", queueUrl, entries, (entry) => ({
        MessageBody: entry.body,
        MessageGroupId: entry.groupId,
        ...(entry.delaySeconds ? { DelaySeconds: entry.delaySeconds } : {}),
      })),

    /**
     * Waits for up to ten messages, which then stay invisible to others for `visibilitySeconds`.
     * @param limit messages at most, from 1 to 10
     * @param waitSeconds at most 20
     */
    async receive(
      queueUrl: string,
      visibilitySeconds: number,
      limit = maxBatch,
      waitSeconds = longPollSeconds,
    ): Promise<ReceivedMessage[]> {
      const answer = received.parse(
        await call(
          "ReceiveMessage",
          {
            QueueUrl: queueUrl,
            MaxNumberOfMessages: limit,
            WaitTimeSeconds: waitSeconds,
            VisibilityTimeout: visibilitySeconds,
            AttributeNames: messageAttributes,
            MessageSystemAttributeNames: messageAttributes,
          },
          timeoutMs + waitSeconds * 1000,
        ),
      );
      return (answer.Messages ?? []).map((message) => ({
        messageId: message.MessageId,
        receiptHandle: message.ReceiptHandle,
        body: message.Body,
        receiveCount: message.Attributes?.ApproximateReceiveCount ?? 1,
        sentAt: message.Attributes?.SentTimestamp,
        firstReceivedAt: message.Attributes?.ApproximateFirstReceiveTimestamp,
      }));
    },

    /**
     * Deletes messages that are done.
     * @returns those that SQS did not delete: they come again
     */
    delete: (queueUrl: string, messages: readonly ReceivedMessage[]) =>
      batch("DeleteMessageBatch", queueUrl, messages, (message) => ({
        ReceiptHandle: message.receiptHandle,
      })),

    /** Lets messages come again after a delay in seconds. */
    retryLater: (
      queueUrl: string,
      messages: readonly { message: ReceivedMessage; delaySeconds: number }[],
    ) =>
      batch("ChangeMessageVisibilityBatch", queueUrl, messages, ({ message, delaySeconds }) => ({
        ReceiptHandle: message.receiptHandle,
        VisibilityTimeout: delaySeconds,
      })),

    /** Approximate numbers of messages: waiting, and received but not deleted. */
    async depth(queueUrl: string): Promise<{ waiting: number; inFlight: number }> {
      const attributes = await attributesOf(queueUrl);
      return {
        waiting: Number(attributes["ApproximateNumberOfMessages"] ?? 0),
        inFlight: Number(attributes["ApproximateNumberOfMessagesNotVisible"] ?? 0),
      };
    },

    /** The queue's dead-letter queue, or undefined where its redrive policy names none. */
    deadLetterQueue: async (queueUrl: string) => (await redrivePolicy(queueUrl))?.deadLetterQueue,

    /** Messages in the queue's dead-letter queue, those that someone looks at included; 0 where it has none. */
    async deadLetters(queueUrl: string): Promise<number> {
      const policy = await redrivePolicy(queueUrl);
      if (!policy) return 0;
      const attributes = await attributesOf(policy.deadLetterQueue);
      return ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        .map((name) => Number(attributes[name] ?? 0))
        .reduce((sum, n) => sum + n);
    },

    /** Where messages go that were received too often, and how often that is. */
    redrivePolicy,
  };

  async function redrivePolicy(
    queueUrl: string,
  ): Promise<{ deadLetterQueue: string; maxReceiveCount: number } | undefined> {
    const policy = (await attributesOf(queueUrl))["RedrivePolicy"];
    const parsed = policy && redrivePolicyAttribute.safeParse(JSON.parse(policy)).data;
    if (!parsed) return undefined;
    const [, , , , account, name] = parsed.deadLetterTargetArn.split(":");
    const { QueueUrl: deadLetterQueue } = queueUrlResult.parse(
      await call("GetQueueUrl", { QueueName: name, QueueOwnerAWSAccountId: account }),
    );
    return { deadLetterQueue, maxReceiveCount: parsed.maxReceiveCount };
  }

  async function attributesOf(queueUrl: string): Promise<Record<string, string>> {
    const answer = attributesResult.parse(
      await call("GetQueueAttributes", { QueueUrl: queueUrl, AttributeNames: ["All"] }),
    );
    return answer.Attributes ?? {};
  }
}
