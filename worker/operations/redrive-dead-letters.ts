import { type RouteHandler, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { ReceivedMessage } from "../../aws/sqs.ts";
import { SqsError } from "../../aws/sqs-answers.ts";
import { connectDatabase, type Database } from "../../db/client.ts";
import { countDeadLetters, type DeadLetterRow, readOpenLetters } from "../../db/dead-letters.ts";
import { closeLetters, reopenLetters, reviveLetters } from "../../db/revive-letters.ts";
import { deadLetterId, type DeadLetterQueue, deadLetterQueues } from "../../events/dead-letter.ts";
import { exportMessageFor, indexMessagesFor, type MessageToSend } from "../../events/messages.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError, reasonOf } from "../../platform/errors.ts";
import { count } from "../answer-fields.ts";
import type { AppEnv } from "../env.ts";
import { optionalJsonBody } from "../middleware/json-body.ts";
import { publishAll } from "../logs/publish-logs.ts";
import { bodyProblems, problemAnswers } from "../problem-answers.ts";
import { wakePoller } from "../wake-poller.ts";
import {
  type Graveyard,
  graveyardOf,
  holdMessages,
  letGo,
  recordHeld,
  recordOrphans,
} from "./find-dead-letters.ts";
import { declareRoute } from "../route.ts";
import { redriveRecords } from "./redrive-records.ts";

/** Dead letters that one call sends back, of each queue: a request has 1,000 subrequests, and a client's patience. */
const redrivenAtOnce = 100;
const maxBodyBytes = 16 * 1024;

const redriveRequest = z
  .strictObject({
    queue: z
      .enum(deadLetterQueues, `must be among ${deadLetterQueues.join(", ")}`)
      .optional()
      .openapi({ description: "The queue that they are of. Left out: both.", examples: ["log"] }),
    ids: z
      .array(z.guid("must be a UUID"))
      .min(1, "must hold at least one id")
      .max(redrivenAtOnce, `must hold at most ${redrivenAtOnce} ids`)
      .optional()
      .openapi({
        description: "The dead letters. Left out: all.",
        examples: [["019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"]],
      }),
  })
  .openapi("Redrive", { description: "What to try again." });

const answer = z
  .object({
    data: z
      .object({
        redriven: count("Messages that were sent back to their queue.", 3),
        failed: count("Those that SQS did not take: they are dead still.", 0),
        not_found: z.array(z.string()).openapi({
          description: "Ids of which there is no dead letter, or that were sent back before.",
          examples: [[]],
        }),
        remaining: count("Dead letters that are left, approximately.", 0),
      })
      .openapi("Redriven", { description: "What became of dead letters." }),
  })
  .openapi("RedriveAnswer", { description: "What became of dead letters." });

export const redriveDeadLettersRoute = declareRoute({
  method: "post",
  path: "/operations/dead-letters/redrive",
  operationId: "redriveDeadLetters",
  summary: "Try dead letters again",
  description: `Up to ${redrivenAtOnce} of each queue: ask again while there are some remaining. Safe to repeat. For platform admins.`,
  tags: ["Operations"],
  access: "platform admin",
  middleware: [optionalJsonBody(maxBodyBytes)],
  request: {
    body: { required: false, content: { "application/json": { schema: redriveRequest } } },
  },
  responses: {
    200: {
      description: "What became of them.",
      content: { "application/json": { schema: answer } },
    },
    ...problemAnswers(...bodyProblems),
  },
});

export const redriveDeadLetters: RouteHandler<typeof redriveDeadLettersRoute, AppEnv> = async (
  c,
) => {
  const { config } = c.var;
  const { queue, ids } = c.req.valid("json");
  const db = connectDatabase(requireSection(config, "database"));
  const sqs = requireSection(config, "sqs");
  const sum = { redriven: 0, failed: 0, remaining: 0 };
  const found = new Set<string>();
  const asked = queue === undefined ? deadLetterQueues : [queue];
  try {
    for (const one of asked) {
      const result = await redriveQueue(c, db, await graveyardOf(one, sqs), ids);
      sum.redriven += result.sent.length;
      sum.failed += result.refused.length;
      sum.remaining += result.more;
      for (const id of [...result.sent, ...result.refused]) found.add(id);
      if (result.sent.length > 0) wake(c, one);
    }
  } catch (error) {
    if (!(error instanceof SqsError)) throw error;
    throw new ApiError("queue_unavailable", "The queue does not answer. Try again.", {
      cause: error,
    });
  }
  const left = await countDeadLetters(db);
  for (const one of asked) sum.remaining += left[one];
  const notFound = (ids ?? []).map((id) => id.toLowerCase()).filter((id) => !found.has(id));
  Object.assign(c.var.event, { redriven: sum.redriven, failed: sum.failed });
  const { redriven, failed, remaining } = sum;
  return c.json({ data: { redriven, failed, not_found: notFound, remaining } }, 200);
};

type Redriven = { sent: string[]; refused: string[]; more: number };

/**
 * Sends back dead letters of one queue. In this order, so that being cut off in between loses nothing:
 * their work is made possible again in the database, from where the sweeps would send it too; the messages
 * are sent; they are deleted from the dead-letter queue.
 */
async function redriveQueue(
  c: Context<AppEnv>,
  db: Database,
  graveyard: Graveyard,
  ids: readonly string[] | undefined,
): Promise<Redriven> {
  const { queue, sqs, sourceUrl, deadUrl } = graveyard;
  // Those of certain ids may lie behind others.
  const { held, more } = await holdMessages(graveyard, redrivenAtOnce * (ids ? 3 : 1));
  const done = new Set<ReceivedMessage>();
  try {
    const dead = await recordHeld(db, graveyard, held);
    if (queue === "log") await recordOrphans(db);
    const heldIds = dead.map(({ body }) => deadLetterId(queue, body));
    // While there are more messages than were looked at, those at hand come first: they are deleted too.
    const wanted = ids ?? (more > 0 ? heldIds : undefined);
    const letters = await readOpenLetters(db, queue, wanted, redrivenAtOnce);
    const named = letters.filter(({ tenantId }) => tenantId !== null);
    const work = named.map(({ id }) => id);
    if (work.length > 0)
      publishAll(c, await reviveLetters(db, work, await redriveRecords(c, db, named)));
    const messages = letters.flatMap((letter) => messagesOf(letter));
    const refusedMessages = new Set(await sqs.send(sourceUrl, messages));
    const refused = new Set(
      messages.filter((message) => refusedMessages.has(message)).map(({ id }) => id),
    );
    if (refused.size > 0) await reopenLetters(db, [...refused]);
    const sent = letters.map(({ id }) => id).filter((id) => !refused.has(id));
    const isSent = new Set(sent);
    for (const [n, message] of dead.entries()) if (isSent.has(heldIds[n] ?? "")) done.add(message);
    if (deadUrl !== undefined) await sqs.delete(deadUrl, [...done]);
    const nameless = sent.filter((id) => !work.includes(id));
    if (nameless.length > 0) await closeLetters(db, nameless);
    return { sent, refused: [...refused], more };
  } finally {
    await letGo(
      graveyard,
      held.filter((message) => !done.has(message)),
    );
  }
}

/** The messages that a dead letter was. What names no work is sent as it came. */
function messagesOf(letter: DeadLetterRow): (MessageToSend & { id: string })[] {
  const { id, tenantId, logIds, exportId, requestId, body } = letter;
  const of = (message: MessageToSend) => ({ ...message, id });
  if (tenantId === null) return [of({ body, groupId: "dead-letters" })];
  if (exportId !== null) return [of(exportMessageFor(tenantId, exportId, requestId ?? ""))];
  return indexMessagesFor(tenantId, logIds, requestId ?? "").map(of);
}

function wake(c: Context<AppEnv>, queue: DeadLetterQueue): void {
  const waking = wakePoller(c, queue === "log" ? "LOG_POLLER" : "EXPORT_POLLER");
  c.executionCtx.waitUntil(
    waking.catch((error: unknown) => {
      c.var.logger.warning("wake_failed", { reason: reasonOf(error) });
    }),
  );
}
