import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { vi } from "vitest";
import type { ReceivedMessage } from "../../aws/sqs.ts";
import type { Handled, Pace, QueuePoller } from "../../consumers/poll-queue.ts";
import type { BreakerState } from "../../platform/breaker.ts";
import { sqs } from "./queues.ts";

type Poller = QueuePoller & Rpc.DurableObjectBranded;
export type Stub = DurableObjectStub<Poller>;
export const pollers = env as unknown as {
  LOG_POLLER: DurableObjectNamespace<Poller>;
  DEAF_POLLER: DurableObjectNamespace<Poller>;
};

export type Settings = {
  queueUrl: () => string | undefined;
  handle?: (messages: ReceivedMessage[]) => Promise<Handled>;
  helper?: (name: string) => Stub;
  probe?: () => Promise<void>;
  messagesEach?: number;
  pace?: Pace;
};

const made: Stub[] = [];

/** A poller of a test's own: what is set replaces the class's, in memory. */
export async function newPoller(
  settings: Settings,
  from = pollers.LOG_POLLER,
  name: string = crypto.randomUUID(),
): Promise<Stub> {
  const stub = from.getByName(name);
  await runInDurableObject(stub, (poller) => Object.assign(poller, settings));
  made.push(stub);
  return stub;
}

/** Ends the pollers that a test has made: one that goes on would be seen by the tests after it. */
export async function restPollers(): Promise<void> {
  await Promise.all(made.splice(0).map((stub) => stub.rest()));
}

export const stored = (stub: Stub) =>
  runInDurableObject(stub, async (_poller, state) => ({
    alarm: await state.storage.getAlarm(),
    breaker: await state.storage.get<BreakerState>("breaker"),
  }));

/** As if what a poller's breaker waits were over. */
export const endWait = (stub: Stub) =>
  runInDurableObject(stub, async (_poller, { storage }) => {
    const breaker = await storage.get<BreakerState>("breaker");
    if (breaker) await storage.put("breaker", { ...breaker, openUntil: Date.now() });
  });

/** Runs a poller's next turn to its end, as if what its breaker waits were over. */
export async function nextTurn(stub: Stub): Promise<void> {
  await endWait(stub);
  await runDurableObjectAlarm(stub);
}

export const send = (url: string, bodies: string[]) =>
  sqs.send(
    url,
    bodies.map((body) => ({ body, groupId: "g" })),
  );

/** Lets SQS answer at once where a queue is empty, and not after the 20 s of a long poll. */
export function receiveAtOnce(): void {
  const real = globalThis.fetch;
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const request = new Request(input, init);
    if (request.headers.get("X-Amz-Target") !== "AmazonSQS.ReceiveMessage") return real(request);
    const headers = new Headers(request.headers);
    headers.delete("Content-Length");
    const body = JSON.stringify({ ...((await request.json()) as object), WaitTimeSeconds: 0 });
    return real(request.url, { method: "POST", headers, body });
  });
}
