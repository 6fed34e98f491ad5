import { type RouteHandler, z } from "@hono/zod-openapi";
import { SqsError } from "../../aws/sqs-answers.ts";
import { connectDatabase, type Database } from "../../db/client.ts";
import {
  type DeadLetterRow,
  forgetVanished,
  listDeadLetters as readLetters,
} from "../../db/dead-letters.ts";
import { type DeadLetterQueue, deadLetterQueues } from "../../events/dead-letter.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { reasonOf } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";
import { count, time } from "../answer-fields.ts";
import type { AppEnv } from "../env.ts";
import { cursorBehind, cutPage, idBehind, nextCursor, pageQuery } from "../page-query.ts";
import { problemAnswers } from "../problem-answers.ts";
import {
  graveyardOf,
  holdMessages,
  letGo,
  recordHeld,
  recordOrphans,
} from "./find-dead-letters.ts";
import { declareRoute } from "../route.ts";

/** Messages of a dead-letter queue that one request looks at. */
const peekedAtOnce = 100;

const queueName = z
  .enum(deadLetterQueues, `must be among ${deadLetterQueues.join(", ")}`)
  .openapi({ description: "The queue that they are of.", examples: ["log"] });

const queueCounts = z
  .object({
    count: count("Dead letters of the queue that are known.", 1),
    in_queue: count(
      "Messages in its dead-letter queue, approximately; null where SQS does not answer or there is none.",
      1,
    ).nullable(),
  })
  .openapi("DeadLetterCounts", { description: "How many dead letters a queue has." });

const text = (description: string, example: string) =>
  z.string().openapi({ description, examples: [example] });
const uuid = "019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11";

const deadLetter = z
  .object({
    id: text("Its name for the redrive: the same each time that it fails.", uuid),
    queue: queueName,
    message_id: text("SQS's id of the message.", "0d3c1f0a-88a5-4a2c-9e2f-1d0f5f3f2b11"),
    reason: text("Why it could not be processed.", "OpenSearch refused the document"),
    tenant_id: text(
      "Whose work it is; null where it is no message of this service.",
      "acme",
    ).nullable(),
    log_ids: z
      .array(z.string())
      .openapi({ description: "The logs that were to be indexed.", examples: [[uuid]] }),
    export_id: text("The export that was to be made; null for logs.", uuid).nullable(),
    request_id: text("The request that it came from, where it says.", "req-81").nullable(),
    first_failed_at: time("When it failed first."),
    last_failed_at: time("When it failed last."),
    failures: count("How often it has become a dead letter.", 1),
    receive_count: count("How often SQS has handed it out.", 5),
  })
  .openapi("DeadLetter", { description: "A message that could not be processed." });

export const listDeadLettersRoute = declareRoute({
  method: "get",
  path: "/operations/dead-letters",
  operationId: "listDeadLetters",
  summary: "List what could not be processed, and why",
  description: "The newest first. For platform admins.",
  tags: ["Operations"],
  access: "platform admin",
  request: {
    query: z.strictObject({
      queue: queueName.optional(),
      ...pageQuery(),
    }),
  },
  responses: {
    200: {
      description: "A page of dead letters.",
      content: {
        "application/json": {
          schema: z
            .object({
              queues: z
                .object({ log: queueCounts, export: queueCounts })
                .openapi({ description: "By queue." }),
              items: z.array(deadLetter).max(100).openapi({ description: "The newest first." }),
              next_cursor: nextCursor,
            })
            .openapi("DeadLetterPage", { description: "A page of dead letters." }),
        },
      },
    },
    ...problemAnswers("validation_failed"),
  },
});

export const listDeadLetters: RouteHandler<typeof listDeadLettersRoute, AppEnv> = async (c) => {
  const { config, logger } = c.var;
  const { queue, page_size: size, cursor } = c.req.valid("query");
  const cursorKind = `dead-letters ${queue ?? "all"}`;
  const after = idBehind(cursor, cursorKind);
  const db = connectDatabase(requireSection(config, "database"));
  const [log, exports] = await Promise.all([
    lookInto("log", db, config, logger),
    lookInto("export", db, config, logger),
  ]);
  await recordOrphans(db);
  const { rows, counts } = await readLetters(db, queue, after, size + 1);
  const { page, last } = cutPage(rows, size);
  return c.json(
    {
      queues: {
        log: { count: counts.log, in_queue: log },
        export: { count: counts.export, in_queue: exports },
      },
      items: page.map(itemOf),
      next_cursor: cursorBehind(last, cursorKind),
    },
    200,
  );
};

/**
 * Finds what SQS moved to the dead-letter queue by itself. Without SQS the list is what the database knows.
 *
 * @returns how many messages the dead-letter queue has
 */
async function lookInto(
  queue: DeadLetterQueue,
  db: Database,
  config: Config,
  logger: Logger,
): Promise<number | null> {
  const { sqs } = config.sections;
  if (!sqs) return null;
  try {
    const graveyard = await graveyardOf(queue, sqs);
    if (graveyard.deadUrl === undefined) return null;
    const { held, more } = await holdMessages(graveyard, peekedAtOnce);
    try {
      const dead = await recordHeld(db, graveyard, held);
      if (more === 0)
        await forgetVanished(
          db,
          queue,
          dead.map(({ body }) => body),
        );
      return dead.length + more;
    } finally {
      await letGo(graveyard, held);
    }
  } catch (error) {
    if (!(error instanceof SqsError)) throw error;
    logger.warning("dead_letters_unseen", { queue, reason: reasonOf(error) });
    return null;
  }
}

function itemOf(row: DeadLetterRow): z.infer<typeof deadLetter> {
  return {
    id: row.id,
    queue: row.queue,
    message_id: row.messageId,
    reason: row.reason,
    tenant_id: row.tenantId,
    log_ids: row.logIds,
    export_id: row.exportId,
    request_id: row.requestId,
    first_failed_at: row.firstFailedAt.toISOString(),
    last_failed_at: row.lastFailedAt.toISOString(),
    failures: row.failures,
    receive_count: row.receiveCount,
  };
}
