import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { AwsClient } from "aws4fetch";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ensureBucket, ensureQueues, startAws, type AwsAccess } from "./aws.ts";

const keys = { region: "ap-southeast-1", accessKeyId: "fake", secretAccessKey: "fake" };
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "audit-log-aws-"));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function sqs(access: AwsAccess, action: string, body: object): Promise<unknown> {
  const client = new AwsClient({ ...access, service: "sqs" });
  const response = await client.fetch(access.endpoint, {
    method: "POST",
    headers: {
      "content-type": "application/x-amz-json-1.0",
      "x-amz-target": `AmazonSQS.${action}`,
    },
    body: JSON.stringify(body),
  });
  return await response.json();
}

test("queues, their dead-letter queues and the bucket are made once, and outlive a restart", async () => {
  const dataDir = join(folder, "kept");
  const first = await startAws({ dataDir });
  const access = { ...keys, endpoint: first.url };
  const urls = await ensureQueues({ ...access, queues: ["logs", "exports"] });
  expect(urls).toEqual({
    logs: `${first.url}/000000000000/logs`,
    exports: `${first.url}/000000000000/exports`,
  });
  expect(await ensureQueues({ ...access, queues: ["logs", "exports"] })).toEqual(urls);
  expect(
    await sqs(access, "GetQueueAttributes", { QueueUrl: urls["logs"], AttributeNames: ["All"] }),
  ).toMatchObject({
    Attributes: {
      VisibilityTimeout: "60",
      ReceiveMessageWaitTimeSeconds: "20",
      RedrivePolicy: JSON.stringify({
        deadLetterTargetArn: "arn:aws:sqs:ap-southeast-1:000000000000:logs-dlq",
        maxReceiveCount: 5,
      }),
    },
  });
  await ensureBucket({ ...access, bucket: "logs-export" });
  await ensureBucket({ ...access, bucket: "logs-export" });
  const s3 = new AwsClient({ ...keys, service: "s3" });
  await s3.fetch(`${first.url}/logs-export/kept.txt`, { method: "PUT", body: "kept" });
  await sqs(access, "SendMessage", { QueueUrl: urls["logs"], MessageBody: "kept" });
  await first.stop();

  const second = await startAws({ dataDir });
  const again = { ...keys, endpoint: second.url };
  const found = await ensureQueues({ ...again, queues: ["logs"] });
  // The queue was made at another address: the answer is where it is now.
  expect(found["logs"]).toBe(`${second.url}/000000000000/logs`);
  expect(await sqs(again, "ReceiveMessage", { QueueUrl: found["logs"] })).toMatchObject({
    Messages: [{ Body: "kept" }],
  });
  const object = await s3.fetch(`${second.url}/logs-export/kept.txt`);
  expect(await object.text()).toBe("kept");
  await second.stop();
});

test("only this machine can reach it", async () => {
  const server = await startAws();
  const port = Number(new URL(server.url).port);
  const reached = (host: string): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(port, host, () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
  expect(await reached("127.0.0.1")).toBe(true);
  const others = Object.values(networkInterfaces())
    .flat()
    .filter((address) => address && !address.internal && address.family === "IPv4");
  for (const address of others) expect(await reached(address?.address ?? "")).toBe(false);
  await server.stop();
});

test("a start that fails, and a server that refuses, are said in one sentence", async () => {
  const server = await startAws();
  const { port } = new URL(server.url);
  await expect(startAws({ port: Number(port) })).rejects.toThrow(
    /SQS and S3 \(fauxqs\) did not start \(exit code 1\)[^]*EADDRINUSE/,
  );
  const access = { ...keys, endpoint: server.url };
  await expect(ensureQueues({ ...access, queues: ["no good name"] })).rejects.toThrow(
    `SQS at ${server.url} refused`,
  );
  await expect(ensureBucket({ ...access, bucket: "UPPER" })).rejects.toThrow(
    /refused to make UPPER/,
  );
  await server.stop();
});
