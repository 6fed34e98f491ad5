import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bucketAnswers, connectS3 } from "../../aws/s3.ts";
import { S3Error } from "../../aws/s3-answers.ts";
import { connectSqs, type ReceivedMessage } from "../../aws/sqs.ts";
import { SqsError } from "../../aws/sqs-answers.ts";
import { variables } from "../../platform/config.ts";
import { demandRights, deployStack, type Moto, startMoto, type Stack } from "../tools/moto.ts";
import { pythonTools, run } from "../tools/python-tools.ts";

const tools = await pythonTools();
const region = "ap-southeast-1";
const domain = `arn:aws:es:${region}:123456789012:domain/audit`;
const topic = `arn:aws:sns:${region}:123456789012:operators`;
const read = (path: string) =>
  readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), "utf8");

type On = "queue" | "deadLetters" | "bucket" | "objects";

/** Every call of aws/, the action that IAM has for it, and what it is made on. */
const calls: Record<string, { action: string; on: readonly On[] }> = {
  SendMessageBatch: { action: "sqs:SendMessage", on: ["queue", "deadLetters"] },
  ReceiveMessage: { action: "sqs:ReceiveMessage", on: ["queue", "deadLetters"] },
  DeleteMessageBatch: { action: "sqs:DeleteMessage", on: ["queue", "deadLetters"] },
  ChangeMessageVisibilityBatch: {
    action: "sqs:ChangeMessageVisibility",
    on: ["queue", "deadLetters"],
  },
  GetQueueAttributes: { action: "sqs:GetQueueAttributes", on: ["queue", "deadLetters"] },
  GetQueueUrl: { action: "sqs:GetQueueUrl", on: ["deadLetters"] },
  CreateMultipartUpload: { action: "s3:PutObject", on: ["objects"] },
  UploadPart: { action: "s3:PutObject", on: ["objects"] },
  CompleteMultipartUpload: { action: "s3:PutObject", on: ["objects"] },
  AbortMultipartUpload: { action: "s3:AbortMultipartUpload", on: ["objects"] },
  ListMultipartUploads: { action: "s3:ListBucketMultipartUploads", on: ["bucket"] },
  ListParts: { action: "s3:ListMultipartUploadParts", on: ["objects"] },
  HeadObject: { action: "s3:GetObject", on: ["objects"] },
  GetObject: { action: "s3:GetObject", on: ["objects"] },
  PutObject: { action: "s3:PutObject", on: ["objects"] },
  DeleteObject: { action: "s3:DeleteObject", on: ["objects"] },
};
/** Calls that aws/ makes without naming them: the links to files, and bucketAnswers. */
const unnamed = [
  { action: "s3:GetObject", on: ["objects"] },
  { action: "s3:ListBucket", on: ["bucket"] },
] as const;

describe.skipIf("missing" in tools)(
  `the CloudFormation template${"missing" in tools ? ` (${tools.missing})` : ""}`,
  () => {
    let moto: Moto;
    let stack: Stack;
    beforeAll(async () => {
      if ("missing" in tools) return;
      moto = await startMoto(tools);
      const query = /--query "([^"]+)"/.exec(read("README.md"))?.[1] ?? "";
      const parameters = { OpenSearchDomainArn: domain, AlarmTopicArn: topic, ExportDays: "45" };
      stack = await deployStack(tools, moto, region, query, parameters);
      await demandRights(moto);
    }, 120_000);
    afterAll(async () => {
      await moto?.stop();
    });

    test("has nothing that cfn-lint objects to", async () => {
      if ("missing" in tools) return;
      const file = fileURLToPath(new URL("../../infra/aws.yaml", import.meta.url));
      const program = "import sys; from cfnlint.runner import main; sys.exit(main())";
      expect(
        await run(tools.python, ["-c", program, "--include-checks", "I", "--template", file]),
      ).toBe("");
    });

    test("gives back the variables of the service, as the README reads them", () => {
      const names = stack.outputLines.map((line) => line.split("=")[0] ?? "");
      expect(names.toSorted()).toEqual([
        "AWS_REGION",
        "EXPORT_S3_BUCKET",
        "SQS_EXPORT_QUEUE_URL",
        "SQS_LOG_QUEUE_URL",
      ]);
      expect(names.filter((name) => !variables.includes(name))).toEqual([]);
      expect(stack.outputLines).toContain(`EXPORT_S3_BUCKET=${stack.bucket.name}`);
      expect(stack.outputLines).toContain(
        `SQS_LOG_QUEUE_URL=https://sqs.${region}.amazonaws.com/123456789012/audit-logs`,
      );
      // A key in the outputs could be read by everyone who may read the stack.
      expect(JSON.stringify(stack.template)).not.toContain("AWS::IAM::AccessKey");
    });

    test.each([
      ["LogQueue", "LogDeadLetterQueue"],
      ["ExportQueue", "ExportDeadLetterQueue"],
    ])("moves what %s gave out five times to its dead-letter queue", (name, deadLetters) => {
      const [queue, dead] = [stack.queues[name], stack.queues[deadLetters]];
      expect(queue).toMatchObject({
        VisibilityTimeout: "120",
        ReceiveMessageWaitTimeSeconds: "20",
        MessageRetentionPeriod: String(4 * 86_400),
      });
      expect(JSON.parse(queue?.RedrivePolicy ?? "{}")).toEqual({
        deadLetterTargetArn: dead?.QueueArn,
        maxReceiveCount: 5,
      });
      // A dead letter keeps the time at which it was first sent.
      expect(dead).toMatchObject({ MessageRetentionPeriod: String(14 * 86_400) });
      expect(dead?.RedrivePolicy).toBeUndefined();
      const allowed = stack.template.Resources[deadLetters]?.Properties["RedriveAllowPolicy"];
      expect(JSON.stringify(allowed)).toContain(
        name === "LogQueue" ? "${Prefix}-logs" : "${Prefix}-exports",
      );
    });

    test("encrypts every queue, and lets nobody reach one without TLS", () => {
      expect(Object.keys(stack.queues)).toHaveLength(4);
      for (const queue of Object.values(stack.queues)) {
        expect(queue).toMatchObject({ SqsManagedSseEnabled: "true" });
        expect(queue.Policy.Statement).toEqual([onlyByTls("sqs:*", [queue.QueueArn])]);
      }
    });

    test("keeps the bucket private, encrypted by S3's own keys, and only by TLS", () => {
      const arn = `arn:aws:s3:::${stack.bucket.name}`;
      expect(stack.bucket).toMatchObject({
        publicAccess: {
          BlockPublicAcls: true,
          IgnorePublicAcls: true,
          BlockPublicPolicy: true,
          RestrictPublicBuckets: true,
        },
        ownership: [{ ObjectOwnership: "BucketOwnerEnforced" }],
        encryption: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" } }],
        versioning: null,
      });
      expect(stack.bucket.policy.Statement).toEqual([onlyByTls("s3:*", [arn, `${arn}/*`])]);
      expect(stack.template.Resources["ExportBucket"]).toMatchObject({
        DeletionPolicy: "Retain",
        UpdateReplacePolicy: "Retain",
      });
    });

    test("deletes exports after the days that are asked for, and uploads that nothing continues", () => {
      expect(stack.bucket["lifecycle"]).toEqual([
        expect.objectContaining({ ID: "exports", Status: "Enabled", Expiration: { Days: 45 } }),
        expect.objectContaining({
          ID: "incomplete-uploads",
          Status: "Enabled",
          AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 },
        }),
      ]);
      // Longer than a message of an export can live in its queue.
      const least = Number(stack.template.Parameters["IncompleteUploadDays"]?.["MinValue"]);
      const days = Number(stack.queues["ExportQueue"]?.["MessageRetentionPeriod"]) / 86_400;
      expect(least).toBeGreaterThan(days);
    });

    test("sounds an alarm for dead letters and for old messages of each queue", () => {
      const shown = stack.alarms.map((alarm) => [
        alarm["MetricName"],
        JSON.stringify(alarm["Dimensions"]).includes("-dlq"),
        alarm["Threshold"],
      ]);
      expect(shown).toEqual([
        ["ApproximateNumberOfMessagesVisible", true, 1],
        ["ApproximateNumberOfMessagesVisible", true, 1],
        ["ApproximateAgeOfOldestMessage", false, 900],
        ["ApproximateAgeOfOldestMessage", false, 3_600],
      ]);
      for (const alarm of stack.alarms) {
        expect(alarm).toMatchObject({ Namespace: "AWS/SQS", TreatMissingData: "notBreaching" });
        expect(alarm).toMatchObject({ AlarmActions: [topic], OKActions: [topic] });
      }
    });

    test("gives the user the rights to every call of the code, on its resources, and no others", () => {
      const named = [
        ...read("aws/sqs.ts").matchAll(callName),
        ...read("aws/s3.ts").matchAll(callName),
      ];
      expect([...new Set(named.map(([, name]) => name))].toSorted()).toEqual(
        Object.keys(calls).toSorted(),
      );
      const arns: Record<On, string[]> = {
        queue: [arnOf("LogQueue"), arnOf("ExportQueue")],
        deadLetters: [arnOf("LogDeadLetterQueue"), arnOf("ExportDeadLetterQueue")],
        bucket: [`arn:aws:s3:::${stack.bucket.name}`],
        objects: [`arn:aws:s3:::${stack.bucket.name}/*`],
      };
      const needed = [...Object.values(calls), ...unnamed].flatMap(({ action, on }) =>
        on.flatMap((kind) => arns[kind].map((arn) => `${action} on ${arn}`)),
      );
      const search = ["Delete", "Get", "Head", "Post", "Put"].map(
        (method) => `es:ESHttp${method} on ${domain}/*`,
      );
      const granted = stack.userPolicies.flatMap((policy) =>
        policy.Statement.flatMap(({ Effect, Action, Resource }) => {
          expect(Effect).toBe("Allow");
          return Action.flatMap((action) => Resource.map((arn) => `${action} on ${arn}`));
        }),
      );
      expect(granted.toSorted()).toEqual([...new Set([...needed, ...search])].toSorted());
    });

    const arnOf = (name: string) => stack.queues[name]?.QueueArn ?? "";
    const s3With = (key: Stack["key"]) =>
      connectS3({ ...key, region, endpoint: moto.url, bucket: stack.bucket.name }, { retryMs: 1 });
    const sqsWith = (key: Stack["key"]) =>
      connectSqs({ ...key, region, endpoint: moto.url, logQueueUrl: "", exportQueueUrl: "" });

    test("is enough for the service's own S3 client, whose signatures hold", async () => {
      const s3 = s3With(stack.key);
      const key = "acme/é +1~/audit logs.csv";
      const kind = { contentType: "text/csv", fileName: "audit-logs.csv" };
      const body = new TextEncoder().encode("id,action\r\n1,naïve ☃\r\n");
      const sha256 = createHash("sha256").update(body).digest("hex");
      const upload = await s3.createUpload(key, kind);
      const etag = await s3.uploadPart(key, upload, 1, body, sha256);
      expect(await s3.openUploads(key)).toEqual([upload]);
      expect(await s3.listParts(key, upload)).toEqual([{ number: 1, etag, bytes: body.length }]);
      await s3.completeUpload(key, upload, [{ number: 1, etag }]);
      expect(await s3.head(key)).toMatchObject({ bytes: body.length });
      expect(await s3.getObject(key)).toEqual(body);
      await s3.putObject(`${key}.json`, '{"é": "☃"}', kind);
      await s3.deleteObject(`${key}.json`);
      expect(await s3.head(`${key}.json`)).toBeUndefined();
      await s3.abortUpload("acme/2", await s3.createUpload("acme/2", kind));
      const config = { ...stack.key, region, endpoint: moto.url, bucket: stack.bucket.name };
      expect(await bucketAnswers(config, 5_000)).toBe(true);
    });

    test("is enough for the service's own SQS client, whose signatures hold", async () => {
      const sqs = sqsWith(stack.key);
      const queue = stack.outputs["SQS_LOG_QUEUE_URL"] ?? "";
      const dead = (await sqs.deadLetterQueue(queue)) ?? "";
      expect(dead).toMatch(/audit-logs-dlq$/);
      for (const url of [queue, dead]) {
        expect(await sqs.send(url, [{ body: '{"é":"☃"}', groupId: "acme" }])).toEqual([]);
        const messages: ReceivedMessage[] = await sqs.receive(url, 30);
        expect(messages.map((message) => message.body)).toEqual(['{"é":"☃"}']);
        const later = messages.map((message) => ({ message, delaySeconds: 60 }));
        expect(await sqs.retryLater(url, later)).toEqual([]);
        expect(await sqs.delete(url, messages)).toEqual([]);
        expect(await sqs.depth(url)).toEqual({ waiting: 0, inFlight: 0 });
      }
    });

    test("is not there for another user, nor for a key with a wrong secret", async () => {
      const queue = stack.outputs["SQS_LOG_QUEUE_URL"] ?? "";
      const wrong = { ...stack.key, secretAccessKey: "not the secret" };
      const kind = { contentType: "text/csv", fileName: "x.csv" };
      for (const [key, code] of [
        [stack.strangersKey, "AccessDenied"],
        [wrong, "SignatureDoesNotMatch"],
      ] as const) {
        const s3 = await s3With(key)
          .createUpload("acme/3", kind)
          .catch((error: unknown) => error);
        expect(s3).toBeInstanceOf(S3Error);
        expect(s3).toMatchObject({ code, status: 403 });
        const sqs = await sqsWith(key)
          .depth(queue)
          .catch((error: unknown) => error);
        expect(sqs).toBeInstanceOf(SqsError);
        expect(String(sqs)).toContain(code);
      }
    });
  },
);

const callName = /\b(?:call|batch|once)\(\s*"([A-Z]\w+)"/g;

const onlyByTls = (action: string, resources: string[]) => ({
  Effect: "Deny",
  Principal: "*",
  Action: [action],
  Resource: resources,
  Condition: { Bool: { "aws:SecureTransport": "false" } },
});
