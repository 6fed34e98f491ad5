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
import type { AppEnv } from "../env.ts";
import { encodeCursor } from "../logs/cursor.ts";
import { idBehind, pageQuery } from "../page-query.ts";
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

const queueName = z.enum(deadLetterQueues, `must be among ${deadLetterQueues.join(", ")}`);

const queueCounts = z.object({
  count: z.int().openapi({ description: "Dead letters of the queue that are known." }),
  in_queue: z.int().nullable().openapi({
    description:
      "Messages in its dead-letter queue, approximately; null where SQS does not answer or there is none.",
  }),
});

const deadLetter = z
  .object({
    id: z.string(),
    queue: queueName,
    message_id: z.string(),
    reason: z.string(),
    tenant_id: z.string().nullable(),
    log_ids: z.array(z.string()),
    export_id: z.string().nullable(),
    request_id: z.string().nullable(),
    first_failed_at: z.iso.datetime(),
    last_failed_at: z.iso.datetime(),
    failures: z.int(),
    receive_count: z.int(),
  })
  .openapi("DeadLetter");

export const listDeadLettersRoute = declareRoute({
  method: "get",
  path: "/operations/dead-letters",
  operationId: "listDeadLetters",
  summary: "List what could not be processed, and why",
  description: "The newest first. For platform admins.",
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
          schema: z.object({
            queues: z.object({ log: queueCounts, export: queueCounts }),
            items: z.array(deadLetter),
            next_cursor: z.string().nullable(),
          }),
        },
      },
    },
    ...problemAnswers(401, 403, 422, 503),
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
  // One more tells whether there are more.
  const { rows, counts } = await readLetters(db, queue, after, size + 1);
  const page = rows.slice(0, size);
  const last = rows.length > size ? page.at(-1) : undefined;
  return c.json(
    {
      queues: {
        log: { count: counts.log, in_queue: log },
        export: { count: counts.export, in_queue: exports },
      },
      items: page.map(itemOf),
      next_cursor: last ? encodeCursor({ after: last.id, total: null }, cursorKind) : null,
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
