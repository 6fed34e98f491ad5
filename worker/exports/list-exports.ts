import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { listExports as readExports } from "../../db/exports.ts";
import { requireSection } from "../../platform/config.ts";
import { readScope } from "../auth/caller.ts";
import { auditors } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { cursorBehind, cutPage, idBehind, pageOf, pageQuery } from "../page-query.ts";
import { problemAnswers } from "../problem-answers.ts";
import { auditLinks } from "./audit-links.ts";
import { answerOf, exportSchema } from "./export-answer.ts";
import { declareRoute } from "../route.ts";

/** A cursor of this list is refused by the list of logs, and the other way round. */
const cursorKind = "exports";

export const listExportsRoute = declareRoute({
  method: "get",
  path: "/logs/export",
  operationId: "listExports",
  summary: "List exports, newest first",
  tags: ["Exports"],
  access: auditors,
  request: {
    query: z.strictObject({
      ...pageQuery(),
    }),
  },
  responses: {
    200: {
      description: "A page of exports.",
      content: {
        "application/json": {
          schema: pageOf("ExportPage", exportSchema),
        },
      },
    },
    ...problemAnswers("validation_failed"),
  },
});

export const listExports: RouteHandler<typeof listExportsRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const { page_size: size, cursor } = c.req.valid("query");
  const db = connectDatabase(requireSection(config, "database"));
  const rows = await readExports(db, readScope(caller), idBehind(cursor, cursorKind), size + 1);
  const { page, last } = cutPage(rows, size);
  const items = await Promise.all(page.map((row) => answerOf(row, config)));
  auditLinks(c, items);
  return c.json({ items, next_cursor: cursorBehind(last, cursorKind) }, 200);
};
