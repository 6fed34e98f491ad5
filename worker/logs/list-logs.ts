import { type RouteHandler, z } from "@hono/zod-openapi";
import { auditLogSchema } from "../../events/audit-log-answer.ts";
import { auditLogJson } from "../../events/audit-log.ts";
import { firstIdAt } from "../../events/ids.ts";
import { maxCountedTotal, maxPageBytes } from "../../events/log-filter.ts";
import { ApiError } from "../../platform/errors.ts";
import { readScope } from "../auth/caller.ts";
import { readers } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { jsonText } from "../json-text.ts";
import { nextCursor, unusableCursor, wholeNumber } from "../page-query.ts";
import { problemAnswers } from "../problem-answers.ts";
import { auditSearch } from "./audit-search.ts";
import { type Cursor, decodeCursor, encodeCursor, listFingerprint } from "./cursor.ts";
import { findLogs } from "./find-logs.ts";
import { searchFields } from "./list-answer.ts";
import { checkQuery, filterShape, logFilter, metadataParameters } from "./log-query.ts";
import { orItsHash } from "./or-its-hash.ts";
import { searchBackends } from "./search-backends.ts";
import { declareRoute } from "../route.ts";

const shape = {
  ...filterShape,
  order: z
    .enum(["desc", "asc"], "must be asc or desc")
    .default("desc")
    .openapi({
      description:
        "By id, so by the time of storing: the newest first, or the oldest. Ascending pages end at indexed_through and always have a next_cursor: asked again, it gives what came since.",
      examples: ["desc"],
    }),
  page: wholeNumber(
    `The page's number. Pages reach up to ${maxCountedTotal} logs; go on with cursor. A page that was asked for by its number is whole: one that is too large is 422.`,
    1,
    1,
    999_999_999,
  ),
  page_size: wholeNumber(
    `How many logs a page has, at most. It has fewer where these would be more than about ${maxPageBytes} bytes: the last page is the one without next_cursor.`,
    10,
    1,
    100,
  ),
  cursor: z.string().max(512).optional().openapi({
    description:
      "`next_cursor` of the page before, with the same filters and order. Its cost does not grow with depth.",
  }),
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

const answer = z
  .object({
    items: z.array(auditLogSchema).max(100).openapi({ description: "The logs, in their order." }),
    total: z
      .int()
      .nonnegative()
      .openapi({
        description: `Logs that the filters select, exact up to ${maxCountedTotal}.`,
        examples: [1290],
      }),
    total_is_lower_bound: z
      .literal(true)
      .optional()
      .openapi({ description: "There where there are more than total." }),
    page: z.int().openapi({ description: "As it was asked for.", examples: [1] }),
    page_size: z.int().openapi({ description: "As it was asked for.", examples: [10] }),
    next_cursor: nextCursor,
    unsearchable: z
      .int()
      .positive()
      .optional()
      .openapi({
        description: "Logs that the index cannot take, where there are any.",
        examples: [1],
      }),
    ...searchFields,
  })
  .openapi("AuditLogPage", { description: "A page of logs." });

export const listLogsRoute = declareRoute({
  method: "get",
  path: "/logs",
  operationId: "listLogs",
  summary: "List and search audit logs",
  tags: ["Logs"],
  access: readers,
  parameters: [metadataParameters],
  request: { query: listQuery },
  responses: {
    200: { description: "A page of logs.", content: { "application/json": { schema: answer } } },
    ...problemAnswers("validation_failed"),
  },
});

export const listLogs: RouteHandler<typeof listLogsRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const query = c.req.valid("query");
  const scope = readScope(caller);
  const asked = logFilter(query, caller.tenantId, config);
  const fingerprint = listFingerprint(scope, asked, query.order);
  const cursor = query.cursor === undefined ? null : readCursor(query.cursor, fingerprint);

  const filter = orItsHash(asked, caller.tenantId, config);
  const { backends, mark, indexedThrough } = await searchBackends(c, scope);
  const found = await findLogs(backends, filter, {
    order: query.order,
    size: query.page_size,
    after: cursor?.after ?? null,
    skip: cursor ? 0 : (query.page - 1) * query.page_size,
    // Safe for ascending pages, which end before anything that the mark could not see yet.
    notBefore: query.order === "asc" ? mark.oldest : 0,
    before: query.order === "asc" ? indexedThrough : null,
  });

  // A numbered page goes on behind as many as were asked for: what is left out of one would be in none.
  if (found.isCut && c.req.query("page") !== undefined) throw pageTooLarge(found.logs.length);

  const total = cursor?.total ?? found.total ?? { count: 0, isLowerBound: false };
  const last = found.logs.at(-1)?.id ?? cursor?.after;
  // An ascending list never ends: it is asked again, and goes on with what came since.
  const next = query.order === "asc" ? (last ?? firstIdAt(0)) : found.hasMore ? last : undefined;
  c.var.event["source"] = found.source;
  // The total of a cursor is what the caller says: of such a page only what it has is known.
  const seen = found.total ?? { count: found.logs.length, isLowerBound: true };
  auditSearch(c, scope, mark.readAudit, {
    action: "audit_log.searched",
    filter: asked,
    found: {
      results: seen.count,
      ...(seen.isLowerBound ? { results_are_lower_bound: true } : {}),
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
  throw unusableCursor(cursor);
}

/** @param fitting how many logs of the page fit */
function pageTooLarge(fitting: number): ApiError {
  const message = `makes a page of more than ${maxPageBytes} bytes: ask for pages of ${fitting}, or leave out page and go on with cursor`;
  return new ApiError("validation_failed", "The page is too large: see errors.", {
    errors: [{ path: "page_size", message }],
  });
}
