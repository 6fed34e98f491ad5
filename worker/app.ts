import { OpenAPIHono } from "@hono/zod-openapi";
import type { AppEnv } from "./env.ts";
import { cancelExport, cancelExportRoute } from "./exports/cancel-export.ts";
import { getExport, getExportRoute } from "./exports/get-export.ts";
import { listExports, listExportsRoute } from "./exports/list-exports.ts";
import { retryExport, retryExportRoute } from "./exports/retry-export.ts";
import { startExport, startExportRoute } from "./exports/start-export.ts";
import { cleanUpLogs, cleanUpLogsRoute } from "./logs/clean-up-logs.ts";
import { createLog, createLogRoute } from "./logs/create-log.ts";
import { createLogs, createLogsRoute } from "./logs/create-logs.ts";
import { getLog, getLogRoute } from "./logs/get-log.ts";
import { listLogs, listLogsRoute } from "./logs/list-logs.ts";
import { logStats, logStatsRoute } from "./logs/log-stats.ts";
import { cors } from "./middleware/cors.ts";
import { problemResponse, refuseInvalid } from "./middleware/errors.ts";
import { requestLog } from "./middleware/request-log.ts";
import { securityHeaders } from "./middleware/security-headers.ts";
import { otherMethods, unknownRoute } from "./middleware/unknown-route.ts";
import { docs } from "./operations/docs.ts";
import { health, healthRoute } from "./operations/health.ts";
import { listDeadLetters, listDeadLettersRoute } from "./operations/list-dead-letters.ts";
import { metrics } from "./operations/metrics.ts";
import { openApiDocument } from "./operations/openapi.ts";
import { redriveDeadLetters, redriveDeadLettersRoute } from "./operations/redrive-dead-letters.ts";
import {
  cancelReindex,
  cancelReindexRoute,
  listReindexes,
  listReindexesRoute,
  startReindex,
  startReindexRoute,
} from "./operations/reindex.ts";
import { createKey, createKeyRoute } from "./keys/create-key.ts";
import { listKeys, listKeysRoute } from "./keys/list-keys.ts";
import { revokeKey, revokeKeyRoute } from "./keys/revoke-key.ts";
import { gate, refuseUndeclared } from "./route.ts";
import { changeTenant, changeTenantRoute } from "./tenants/change-tenant.ts";
import { createTenant, createTenantRoute } from "./tenants/create-tenant.ts";
import { getTenant, getTenantRoute } from "./tenants/get-tenant.ts";
import { listTenants, listTenantsRoute } from "./tenants/list-tenants.ts";

const newRouter = () => new OpenAPIHono<AppEnv>({ strict: false, defaultHook: refuseInvalid });

const api = newRouter();
api.openapi(healthRoute, health);
api.openapi(createLogRoute, createLog);
api.openapi(createLogsRoute, createLogs);
api.openapi(listLogsRoute, listLogs);
api.openapi(logStatsRoute, logStats);
// Before the route of one log, which would take "export" for its id.
api.openapi(startExportRoute, startExport);
api.openapi(listExportsRoute, listExports);
api.openapi(getExportRoute, getExport);
api.openapi(cancelExportRoute, cancelExport);
api.openapi(retryExportRoute, retryExport);
api.openapi(cleanUpLogsRoute, cleanUpLogs);
api.openapi(getLogRoute, getLog);
api.openapi(listDeadLettersRoute, listDeadLetters);
api.openapi(redriveDeadLettersRoute, redriveDeadLetters);
api.openapi(startReindexRoute, startReindex);
api.openapi(listReindexesRoute, listReindexes);
api.openapi(cancelReindexRoute, cancelReindex);
api.openapi(listTenantsRoute, listTenants);
api.openapi(createTenantRoute, createTenant);
api.openapi(getTenantRoute, getTenant);
api.openapi(changeTenantRoute, changeTenant);
api.openapi(createKeyRoute, createKey);
api.openapi(listKeysRoute, listKeys);
api.openapi(revokeKeyRoute, revokeKey);
api.get("/openapi.json", gate("anyone"), openApiDocument(api));
api.get("/docs", gate("anyone"), docs);
api.get("/docs/:file", gate("anyone"), docs);

export const app = newRouter();
app.use(requestLog, securityHeaders, cors);
app.use(otherMethods(app));
app.route("/api/v1", api);
app.openapi(healthRoute, health);
// Behind a token of its own.
app.get("/metrics", gate("anyone"), metrics);
app.get("/docs", gate("anyone"), (c) => c.redirect("/api/v1/docs"));
app.notFound(unknownRoute(app));
app.onError(problemResponse);
refuseUndeclared(app);
