import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase, connectReplica } from "../../db/client.ts";
import { auditLogJson, auditLogSchema } from "../../events/audit-log.ts";
import { firstIdAt } from "../../events/ids.ts";
import { maxCountedTotal } from "../../events/log-filter.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { readScope } from "../auth/caller.ts";
import { readers } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { jsonText } from "../json-text.ts";
import { problemAnswers } from "../problem-answers.ts";
import { auditSearch } from "./audit-search.ts";
import { countDegradedSearch } from "./count-degraded.ts";
import { type Cursor, decodeCursor, encodeCursor, listFingerprint } from "./cursor.ts";
import { findLogs } from "./find-logs.ts";
import { checkQuery, filterShape, logFilter } from "./log-query.ts";
import { settledMark } from "./settled-mark.ts";
import { declareRoute } from "../route.ts";

const wholeNumber = (fallback: number, least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, "must be a whole number")
    .transform(Number)
    .refine((n) => n >= least && n <= most, `must be from ${least} to ${most}`)
    .default(fallback)
    .openapi({ type: "integer", minimum: least, maximum: most, default: fallback });

const shape = {
  ...filterShape,
  order: z.enum(["desc", "asc"], "must be asc or desc").default("desc"),
  page: wholeNumber(1, 1, 999_999_999),
  page_size: wholeNumber(10, 1, 100),
  cursor: z
    .string()
    .max(512)
    .optional()
    .openapi({ description: "next_cursor of the page before." }),
};

const listQuery = z.looseObject(shape).superRefine((query, context) => {
  checkQuery(query, context, shape);
  if (query.cursor === undefined && query.page * query.page_size > maxCountedTotal) {
    const message = `must not reach beyond ${maxCountedTotal} logs: go on with cursor, whose cost does not grow`;
    context.addIssue({ code: "custom", path: ["page"], message });
  }
  if (query.cursor !== undefined && query.page !== 1) {
    context.addIssue({
      code: "custom",
      path: ["page"],
      message: "must not be given together with cursor",
    });
  }
});

const answer = z.object({
  items: z.array(auditLogSchema),
  total: z.int().nonnegative(),
  total_is_lower_bound: z.literal(true).optional(),
  page: z.int(),
  page_size: z.int(),
  next_cursor: z.string().nullable(),
  indexed_through: z.iso
    .datetime()
    .openapi({ description: "Every log stored before this time is searchable." }),
  unsearchable: z.int().optional().openapi({ description: "Logs that the index cannot take." }),
  source: z.enum(["opensearch", "postgres"]),
});

export const listLogsRoute = declareRoute({
  method: "get",
  path: "/logs",
  operationId: "listLogs",
  summary: "List and search audit logs",
  description: "Any `metadata.<path>=value` parameter is an exact filter too.",
  access: readers,
  request: { query: listQuery },
  responses: {
    200: { description: "A page of logs.", content: { "application/json": { schema: answer } } },
    ...problemAnswers(401, 403, 422, 503),
  },
});

export const listLogs: RouteHandler<typeof listLogsRoute, AppEnv> = async (c) => {
  const { caller, config, logger } = c.var;
  const query = c.req.valid("query");
  const scope = readScope(caller);
  const filter = await logFilter(query, caller.tenantId, config);
  const fingerprint = listFingerprint(scope, filter, query.order);
  const cursor = query.cursor === undefined ? null : readCursor(query.cursor, fingerprint);

  const { search } = config.sections;
  const db = connectDatabase(requireSection(config, "database"));
  const mark = await settledMark(db, caller);
  const readConfig = config.sections.readDatabase?.replica;
  const replica = readConfig && connectReplica(readConfig, mark.walPosition);
  // Where there is no OpenSearch, Postgres is the search: what is stored is searchable.
  const indexedThrough = search ? mark.indexedThrough : mark.safeTime;
  const onDegraded = () => countDegradedSearch(c, db);
  const backends = { db, replica, search, scope, logger, onDegraded };
  const found = await findLogs(backends, filter, {
    order: query.order,
    size: query.page_size,
    after: cursor?.after ?? null,
    skip: cursor ? 0 : (query.page - 1) * query.page_size,
    // Safe for ascending pages, which end before anything that the mark could not see yet.
    notBefore: query.order === "asc" ? mark.oldest : 0,
    before: query.order === "asc" ? indexedThrough : null,
  });

  const total = cursor?.total ?? found.total ?? { count: 0, isLowerBound: false };
  const last = found.logs.at(-1)?.id ?? cursor?.after;
  // An ascending list never ends: it is asked again, and goes on with what came since.
  const next = query.order === "asc" ? (last ?? firstIdAt(0)) : found.hasMore ? last : undefined;
  c.var.event["source"] = found.source;
  auditSearch(c, scope, mark.readAudit, {
    action: "audit_log.searched",
    filter,
    found: {
      results: total.count,
      ...(total.isLowerBound ? { results_are_lower_bound: true } : {}),
      source: found.source,
    },
  });
  const parts = [
    `"items":[${found.logs.map((log) => auditLogJson(log)).join(",")}]`,
    `"total":${total.count}`,
    ...(total.isLowerBound ? ['"total_is_lower_bound":true'] : []),
    `"page":${query.page}`,
    `"page_size":${query.page_size}`,
    `"next_cursor":${JSON.stringify(next === undefined ? null : encodeCursor({ after: next, total }, fingerprint))}`,
    `"indexed_through":"${new Date(indexedThrough).toISOString()}"`,
    ...(mark.unsearchable > 0 ? [`"unsearchable":${mark.unsearchable}`] : []),
    `"source":"${found.source}"`,
  ];
  return jsonText<z.infer<typeof answer>, 200>(c, `{${parts.join(",")}}`, 200);
};

function readCursor(text: string, fingerprint: string): Cursor {
  const cursor = decodeCursor(text, fingerprint);
  if (typeof cursor !== "string") return cursor;
  throw new ApiError("validation_failed", "The cursor cannot be used: see errors.", {
    errors: [{ path: "cursor", message: cursor }],
  });
}
