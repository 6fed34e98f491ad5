import { z } from "@hono/zod-openapi";
import { readAuditLevels } from "../../events/read-audit.ts";

/** Which of its reads a tenant has recorded, as requests and answers have it. */
export const readAudit = z
  .enum(readAuditLevels, `must be among ${readAuditLevels.join(", ")}`)
  .nullable()
  .openapi({
    examples: ["searches"],
    description:
      "Which reads are recorded as logs of the tenant's own: `changes` (exports, and what changes something), `searches` (lists, searches and counts too), `all` (each log that is read by its id too). null: the deployment's default.",
  });
