import { fileURLToPath } from "node:url";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { AwsClient } from "aws4fetch";
import { startChild, type Running } from "./child.ts";
import { freePort } from "./ports.ts";

const START_TIMEOUT_MS = 30_000;

export type AwsStandIn = Running & { url: string; stop(): Promise<void> };

/**
 * SQS and S3 by fauxqs, on loopback, in a process of its own: its storage blocks the event loop.
 * Without `dataDir` everything is in memory.
 */
export async function startAws(
  options: {
    dataDir?: string | undefined;
    port?: number | undefined;
    logFile?: string | undefined;
  } = {},
): Promise<AwsStandIn> {
  if (options.dataDir) await mkdir(options.dataDir, { recursive: true });
  const port = options.port ?? (await freePort());
  const child = await startChild(
    process.execPath,
    [
      "--disable-warning=ExperimentalWarning",
      fileURLToPath(new URL("aws-server.ts", import.meta.url)),
      `--port=${port}`,
      ...(options.dataDir ? [`--data-dir=${options.dataDir}`] : []),
    ],
    { ipc: true, graceMs: 2000, logFile: options.logFile },
  );
  const signal = AbortSignal.timeout(START_TIMEOUT_MS);
  const listening = once(child.process, "message", { signal }).then(
    () => "listening",
    () => "timeout",
  );
  const first = await Promise.race([listening, child.exited]);
  if (first !== "listening") {
    await child.stop();
    throw new Error(`SQS and S3 (fauxqs) did not start (${first}):\n${child.tail()}`);
  }
  return {
    url: `http://127.0.0.1:${port}`,
    exited: child.exited,
    tail: child.tail,
    stop: child.stop,
  };
}

export type AwsAccess = {
  endpoint: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
};

type SqsAnswer = { ok: boolean; error: string; body: Record<string, unknown> };

async function callSqs(access: AwsAccess, action: string, input: unknown): Promise<SqsAnswer> {
  const client = new AwsClient({ ...access, service: "sqs", retries: 3 });
  const response = await client.fetch(access.endpoint, {
    method: "POST",
    headers: {
      "content-type": "application/x-amz-json-1.0",
      "x-amz-target": `AmazonSQS.${action}`,
    },
    body: JSON.stringify(input),
  });
  const text = await response.text();
  const body = parseObject(text);
  const type = typeof body["__type"] === "string" ? body["__type"] : "";
  const message = typeof body["message"] === "string" ? body["message"] : text.slice(0, 200);
  return { ok: response.ok, error: `${response.status} ${type} ${message}`, body };
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

function field(value: unknown, name: string): string {
  const found: unknown =
    typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
  if (typeof found !== "string") throw new Error(`SQS answered without ${name}.`);
  return found;
}

/** The queue's URL at `endpoint`: a stand-in answers with the address it had when it made the queue. */
function atEndpoint(queueUrl: string, endpoint: string): string {
  const url = new URL(queueUrl);
  if (url.hostname.endsWith(".amazonaws.com")) return queueUrl;
  return new URL(url.pathname, endpoint).href;
}

async function ensureQueue(
  access: AwsAccess,
  name: string,
  attributes: Record<string, string>,
): Promise<string> {
  const found = await callSqs(access, "GetQueueUrl", { QueueName: name });
  if (found.ok) return atEndpoint(field(found.body, "QueueUrl"), access.endpoint);
  if (!/NonExistentQueue|QueueDoesNotExist/.test(found.error)) {
    throw new Error(`SQS at ${access.endpoint} refused GetQueueUrl of ${name}: ${found.error}`);
  }
  const made = await callSqs(access, "CreateQueue", { QueueName: name, Attributes: attributes });
  if (!made.ok) {
    throw new Error(`SQS at ${access.endpoint} refused CreateQueue of ${name}: ${made.error}`);
  }
  return atEndpoint(field(made.body, "QueueUrl"), access.endpoint);
}

/**
 * Makes each queue that is missing, with its dead-letter queue `<name>-dlq`, and leaves those that
 * are there as they are. Returns the URL of each of `queues`.
 */
export async function ensureQueues(
  options: AwsAccess & { queues: readonly string[] },
): Promise<Record<string, string>> {
  const { queues, ...access } = options;
  const urls: Record<string, string> = {};
  for (const name of queues) {
    const deadLetterUrl = await ensureQueue(access, `${name}-dlq`, {
      // As long as SQS keeps a message at all: time to look why it could not be processed.
      MessageRetentionPeriod: String(14 * 24 * 3600),
    });
    const about = await callSqs(access, "GetQueueAttributes", {
      QueueUrl: deadLetterUrl,
      AttributeNames: ["QueueArn"],
    });
    if (!about.ok) {
      throw new Error(`SQS at ${access.endpoint} refused GetQueueAttributes: ${about.error}`);
    }
    urls[name] = await ensureQueue(access, name, {
      VisibilityTimeout: "60",
      ReceiveMessageWaitTimeSeconds: "20",
      RedrivePolicy: JSON.stringify({
        deadLetterTargetArn: field(about.body["Attributes"], "QueueArn"),
        maxReceiveCount: 5,
      }),
    });
  }
  return urls;
}

/** Makes the bucket when it is missing. */
export async function ensureBucket(options: AwsAccess & { bucket: string }): Promise<void> {
  const { bucket, ...access } = options;
  const client = new AwsClient({ ...access, service: "s3", retries: 3 });
  const url = new URL(bucket, access.endpoint.replace(/\/?$/, "/")).href;
  const found = await client.fetch(url, { method: "HEAD" });
  if (found.ok) return;
  if (found.status !== 404) {
    throw new Error(`S3 at ${access.endpoint} refused the bucket ${bucket}: ${found.status}`);
  }
  const made = await client.fetch(url, {
    method: "PUT",
    // us-east-1 is the one region that must not be named.
    ...(access.region === "us-east-1"
      ? {}
      : {
          body: `<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>${access.region}</LocationConstraint></CreateBucketConfiguration>`,
        }),
  });
  if (!made.ok && made.status !== 409) {
    const reason = (await made.text()).slice(0, 300);
    throw new Error(`S3 at ${access.endpoint} refused to make ${bucket}: ${made.status} ${reason}`);
  }
}
