import { env, runInDurableObject } from "cloudflare:test";
import { expect, test, vi } from "vitest";
import type { ReceivedMessage } from "../../aws/sqs.ts";
import type { ExportPoller } from "../../consumers/exporter/index.ts";
import type { ExportTools } from "../../consumers/exporter/export-message.ts";
import type { Handled } from "../../consumers/poll-queue.ts";
import { exportMessageFor } from "../../events/messages.ts";
import { newTenant } from "../journeys/api.ts";
import { ownerOf } from "./database.ts";
import { toolsOf } from "./export-steps.ts";

type Opened = ExportPoller & {
  tools: () => ExportTools;
  handle: (messages: ReceivedMessage[]) => Promise<Handled>;
};
const { EXPORT_POLLER: pollers } = env as unknown as {
  EXPORT_POLLER: DurableObjectNamespace<ExportPoller>;
};

const messages = Array.from({ length: 3 }, (_, n) => ({
  messageId: `${n}`,
  receiptHandle: "r",
  body: exportMessageFor(newTenant(), crypto.randomUUID(), "").body,
  receiveCount: 1,
}));

test("pollers of an isolate work on three exports at once, whatever they have received together", async () => {
  const atWork = { now: 0, most: 0, begun: 0, isOver: false };
  const slow = Object.assign(ownerOf(), {
    async batch() {
      atWork.begun++;
      atWork.most = Math.max(atWork.most, ++atWork.now);
      while (!atWork.isOver) await new Promise((resolve) => setTimeout(resolve, 20));
      atWork.now--;
      throw new Error("The test is over.");
    },
  });
  const handled = Array.from({ length: 3 }, () =>
    runInDurableObject(pollers.getByName(crypto.randomUUID()), async (poller) => {
      const opened = Object.assign(poller, { tools: () => toolsOf("", { db: slow }) }) as Opened;
      return (await (await opened.handle(messages)).outcomes).map(({ to }) => to);
    }),
  );
  await vi.waitFor(() => expect(atWork.begun).toBeGreaterThan(0));
  await new Promise((resolve) => setTimeout(resolve, 500));
  atWork.isOver = true;
  const outcomes = (await Promise.all(handled)).flat();
  expect(outcomes).toEqual(Array.from({ length: 9 }, () => "give-back"));
  expect(atWork.begun).toBe(9);
  expect(atWork.most).toBeLessThanOrEqual(3);
});
