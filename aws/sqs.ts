import { AwsClient } from "aws4fetch";
import type { MessageToSend } from "../events/messages.ts";
import type { SqsConfig } from "../platform/config.ts";
import { retryAfterMs, type RetryPolicy, withRetries } from "../platform/retry.ts";
import {
  attributesResult,
  batchResult,
  EntriesFailed,
  messageAttributes,
  queueUrlResult,
  received,
  redrivePolicyAttribute,
  SqsError,
} from "./sqs-answers.ts";

export type ReceivedMessage = {
  messageId: string;
  receiptHandle: string;
  body: string;
  /** How often it was received, this time included. */
  receiveCount: number;
  /** By the clock of SQS, in milliseconds since 1970; undefined where it does not say. */
  sentAt?: number | undefined;
  firstReceivedAt?: number | undefined;
  /** The group that it was sent with; not every stand-in of SQS gives it back. */
  groupId?: string | undefined;
};

/** How long a message waited until it was received, in milliseconds; undefined where SQS did not say when it was sent. */
export function queuedMs({ sentAt }: ReceivedMessage, receivedAt: number): number | undefined {
  return sentAt === undefined ? undefined : Math.max(0, receivedAt - sentAt);
}

/** One client for one request, for every queue of the account. */
export type Sqs = ReturnType<typeof connectSqs>;

/** Signing keys hold for a day: derived once, not for each request. */
const signingKeys = new Map<string, ArrayBuffer>();
const maxBatch = 10;
const longPollSeconds = 20;
/** SQS throttles with a 400 that only its code tells from a bad request. */
const throttled = /Throttl|RequestLimitExceeded/;

const retries = {
  isPassing: (error: unknown) =>
    error instanceof EntriesFailed ||
    (error instanceof SqsError &&
      (error.status === undefined ||
        error.status === 429 ||
        error.status >= 500 ||
        throttled.test(error.message))),
  retryAfterMs: (error: unknown) => (error instanceof SqsError ? error.retryAfterMs : undefined),
  tries: 3,
  firstMs: 100,
  capMs: 1_000,
} satisfies Partial<RetryPolicy>;

/**
 * The calls of SQS that the service makes, in its JSON 1.0 protocol, signed. All but `receive` are tried
 * again, which does no harm: a message that is sent twice is a claim check for work that is done once.
 * What fails for good is found by the outbox sweep, or by the visibility timeout.
 *
 * @param timeoutMs bound of every call with all its tries; a long poll adds its own 20 s
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
  const policy: RetryPolicy = { ...retries, deadlineMs: timeoutMs };

  async function once(action: string, body: object, timeout: number): Promise<unknown> {
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
          { retryAfterMs: retryAfterMs(response.headers.get("Retry-After"), Date.now()) },
        );
      return text === "" ? {} : JSON.parse(text);
    } catch (error) {
      if (error instanceof SqsError) throw error;
      throw new SqsError(`${action} had no answer`, undefined, { cause: error });
    }
  }

  const call = (action: string, body: object) =>
    withRetries(policy, (leftMs) => once(action, body, leftMs));

  /**
   * Runs a batch call for any number of entries, ten at a time. A batch answers 200 with entries that
   * failed: those that SQS itself failed are tried again, those that the sender is at fault for are not.
   *
   * @returns the entries that SQS did not take
   */
  async function batch<T>(
    action: string,
    queueUrl: string,
    items: readonly T[],
    entry: (item: T) => object,
  ): Promise<T[]> {
    const failed: T[] = [];
    for (let at = 0; at < items.length; at += maxBatch) {
      const part = items.slice(at, at + maxBatch);
      const entries = part.map((item, n) => ({ Id: String(n), ...entry(item) }));
      const ids = await failedEntries(action, queueUrl, entries);
      failed.push(...part.filter((_, n) => ids.has(String(n))));
    }
    return failed;
  }

  async function failedEntries(
    action: string,
    queueUrl: string,
    entries: { Id: string }[],
  ): Promise<Set<string>> {
    const refused = new Set<string>();
    let left = entries;
    try {
      await withRetries(policy, async (leftMs) => {
        const answer = batchResult.parse(
          await once(action, { QueueUrl: queueUrl, Entries: left }, leftMs),
        );
        const failures = answer.Failed ?? [];
        for (const one of failures) if (one.SenderFault === true) refused.add(one.Id);
        const passing = new Set(failures.map((one) => one.Id).filter((id) => !refused.has(id)));
        left = left.filter((one) => passing.has(one.Id));
        if (left.length > 0) throw new EntriesFailed();
      });
    } catch (error) {
      if (!(error instanceof EntriesFailed)) throw error;
    }
    return new Set([...refused, ...left.map((one) => one.Id)]);
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
        // Not tried again: what a lost answer has taken comes back after its visibility timeout.
        await once(
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
      return (answer.Messages ?? []).map(({ MessageId, ReceiptHandle, Body, Attributes = {} }) => ({
        messageId: MessageId,
        receiptHandle: ReceiptHandle,
        body: Body,
        receiveCount: Attributes.ApproximateReceiveCount ?? 1,
        sentAt: Attributes.SentTimestamp,
        firstReceivedAt: Attributes.ApproximateFirstReceiveTimestamp,
        groupId: Attributes.MessageGroupId,
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
