import type { RouteHandler } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { readExport } from "../../db/exports.ts";
import { requireSection } from "../../platform/config.ts";
import { readScope } from "../auth/caller.ts";
import { auditors } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { problemAnswers } from "../problem-answers.ts";
import { auditLinks } from "./audit-links.ts";
import { answerOf, exportAnswer, exportParams, exportUnknown } from "./export-answer.ts";
import { declareRoute } from "../route.ts";

export const getExportRoute = declareRoute({
  method: "get",
  path: "/logs/export/{pipeline_id}",
  operationId: "getExport",
  summary: "Read how far an export is, and where its file is",
  tags: ["Exports"],
  access: auditors,
  request: { params: exportParams },
  responses: {
    200: { description: "The export.", content: { "application/json": { schema: exportAnswer } } },
    ...problemAnswers("not_found", "validation_failed"),
  },
});

export const getExport: RouteHandler<typeof getExportRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const { pipeline_id: id } = c.req.valid("param");
  const db = connectDatabase(requireSection(config, "database"));
  const row = await readExport(db, readScope(caller), id);
  if (!row) throw exportUnknown();
  const data = await answerOf(row, config);
  auditLinks(c, [data]);
  return c.json({ data }, 200);
};
