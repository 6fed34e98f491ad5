import { z } from "zod";

/** SQS refused a call, or did not answer. `status` is missing where no answer came. */
export class SqsError extends Error {
  readonly status: number | undefined;
  /** What SQS asked to be waited before another try. */
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    status?: number,
    { cause, retryAfterMs }: { cause?: unknown; retryAfterMs?: number | undefined } = {},
  ) {
    super(message, { cause });
    this.name = "SqsError";
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Entries of a batch that SQS did not take for a reason of its own. */
export class EntriesFailed extends Error {}

export const received = z.object({
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
            MessageGroupId: z.string(),
          })
          .partial()
          .optional(),
      }),
    )
    .nullish(),
});
export const batchResult = z.object({
  Failed: z
    .array(
      z.object({
        Id: z.string(),
        Code: z.string(),
        Message: z.string().nullish(),
        SenderFault: z.boolean().nullish(),
      }),
    )
    .nullish(),
});
/** What is asked of each message that is received. */
export const messageAttributes = [
  "ApproximateReceiveCount",
  "ApproximateFirstReceiveTimestamp",
  "SentTimestamp",
  "MessageGroupId",
];
export const attributesResult = z.object({
  Attributes: z.record(z.string(), z.string()).nullish(),
});
export const redrivePolicyAttribute = z.object({
  deadLetterTargetArn: z.string(),
  maxReceiveCount: z.coerce.number(),
});
export const queueUrlResult = z.object({ QueueUrl: z.string() });
