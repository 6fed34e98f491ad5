import { AwsClient } from "aws4fetch";
import { z } from "zod";
import { connectSqs } from "../../aws/sqs.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { workerEnv } from "./tools.ts";

export const sqsConfig = requireSection(parseConfig(workerEnv), "sqs");
export const sqs = connectSqs(sqsConfig);

const aws = new AwsClient({ ...sqsConfig, service: "sqs", retries: 0 });
const queue = z.object({ QueueUrl: z.string() });
const attributes = z.object({ Attributes: z.object({ QueueArn: z.string() }) });

async function call(action: string, body: object): Promise<unknown> {
  const response = await aws.fetch(`${sqsConfig.endpoint}/`, {
    method: "POST",
    headers: {
      "Content-Type": "application/x-amz-json-1.0",
      "X-Amz-Target": `AmazonSQS.${action}`,
    },
    body: JSON.stringify(body),
  });
  return response.json();
}

/** A queue of a test's own, with its dead-letter queue, so that no poller takes its messages. */
export async function newQueue(): Promise<{ url: string; deadLetters: string }> {
  const name = `test-${crypto.randomUUID()}`;
  const deadLetters = queue.parse(await call("CreateQueue", { QueueName: `${name}-dlq` })).QueueUrl;
  const about = await call("GetQueueAttributes", {
    QueueUrl: deadLetters,
    AttributeNames: ["QueueArn"],
  });
  const deadLetterTargetArn = attributes.parse(about).Attributes.QueueArn;
  const RedrivePolicy = JSON.stringify({ deadLetterTargetArn, maxReceiveCount: 5 });
  const { QueueUrl: url } = queue.parse(
    await call("CreateQueue", { QueueName: name, Attributes: { RedrivePolicy } }),
  );
  return { url, deadLetters };
}

export async function newQueueWithoutDeadLetters(): Promise<string> {
  return queue.parse(await call("CreateQueue", { QueueName: `test-${crypto.randomUUID()}` }))
    .QueueUrl;
}

/** The texts of the messages that a queue holds, which it then no longer has. */
export async function drain(url: string): Promise<string[]> {
  const bodies: string[] = [];
  while ((await sqs.depth(url)).waiting > 0) {
    const messages = await sqs.receive(url, 30);
    await sqs.delete(url, messages);
    bodies.push(...messages.map((message) => message.body));
  }
  return bodies;
}
