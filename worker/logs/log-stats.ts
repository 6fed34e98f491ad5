import { type RouteHandler, z } from "@hono/zod-openapi";
import { logStatsSchema } from "../../events/log-stats.ts";
import { readScope } from "../auth/caller.ts";
import { auditors } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { problemAnswers } from "../problem-answers.ts";
import { auditSearch } from "./audit-search.ts";
import { findStats } from "./find-logs.ts";
import { searchFields } from "./list-answer.ts";
import { filterQuery, logFilter, metadataParameters } from "./log-query.ts";
import { orItsHash } from "./or-its-hash.ts";
import { searchBackends } from "./search-backends.ts";
import { declareRoute } from "../route.ts";

const answer = z
  .object({ data: logStatsSchema, ...searchFields })
  .openapi("LogStatsAnswer", { description: "Counts of logs." });

export const logStatsRoute = declareRoute({
  method: "get",
  path: "/logs/stats",
  operationId: "getLogStats",
  summary: "Count audit logs",
  description:
    "By action, severity, resource type and user: the 100 most frequent of each. By time: hours, days or months.",
  tags: ["Logs"],
  access: auditors,
  parameters: [metadataParameters],
  request: { query: filterQuery },
  responses: {
    200: { description: "The counts.", content: { "application/json": { schema: answer } } },
    ...problemAnswers("validation_failed"),
  },
});

export const logStats: RouteHandler<typeof logStatsRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const scope = readScope(caller);
  const asked = logFilter(c.req.valid("query"), caller.tenantId, config);
  const filter = orItsHash(asked, caller.tenantId, config);
  const { backends, mark, indexedThrough } = await searchBackends(c, scope);
  const { source, ...data } = await findStats(backends, filter);
  auditSearch(c, scope, mark.readAudit, {
    action: "audit_log.counted",
    filter: asked,
    found: { results: data.total, source },
  });
  const searchable = { indexed_through: new Date(indexedThrough).toISOString(), source };
  return c.json({ data, ...searchable }, 200);
};
