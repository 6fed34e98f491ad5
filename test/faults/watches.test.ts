import { expect, inject, test } from "vitest";
import { connectSqs } from "../../aws/sqs.ts";
import { ensureQueues } from "../../local/aws.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import "../provided.ts";
import { startFaultProxy } from "./fault-proxy.ts";
import { QueueWatch } from "./queue-watch.ts";

const config = parseConfig(inject("workerEnv"));
const aws = requireSection(config, "sqs");

test("a message that was received and not deleted is made visible again, a deleted one is gone", async () => {
  const name = `watched-${crypto.randomUUID()}`;
  const url = (await ensureQueues({ ...aws, queues: [name] }))[name] ?? "";
  const watch = new QueueWatch();
  const proxy = await startFaultProxy({
    kind: "sqs",
    target: aws.endpoint,
    random: () => 0,
    onAnswer: (answered) => watch.onAnswer(answered),
  });
  const behind = connectSqs({ ...aws, endpoint: proxy.url });
  await behind.send(
    url,
    ["kept", "deleted"].map((body) => ({ body, groupId: "g" })),
  );
  const taken = await behind.receive(url, 600);
  await behind.delete(
    url,
    taken.filter(({ body }) => body === "deleted"),
  );
  expect(await behind.depth(url)).toEqual({ waiting: 0, inFlight: 1 });
  await watch.expire(connectSqs(aws), "undelivered");
  expect(await behind.depth(url)).toEqual({ waiting: 0, inFlight: 1 });
  await watch.expire(connectSqs(aws), "all");
  expect((await behind.receive(url, 600)).map(({ body }) => body)).toEqual(["kept"]);

  // An answer that reaches no one takes its messages with it.
  await watch.expire(connectSqs(aws), "all");
  proxy.rules = [{ probability: 1, fault: { kind: "lose-answer" } }];
  await expect(behind.receive(url, 600)).rejects.toThrow("had no answer");
  await watch.expire(connectSqs(aws), "undelivered");
  expect(await connectSqs(aws).depth(url)).toEqual({ waiting: 1, inFlight: 0 });
  await proxy.stop();
});
