import { createMiddleware } from "hono/factory";
import { parseConfig, type Config } from "../../platform/config.ts";
import { hopTimes, withHopTimes } from "../../platform/hop-times.ts";
import { createLogger } from "../../platform/logger.ts";
import type { AppEnv, Bindings } from "../env.ts";

const saneRequestId = /^[\w.:/+=-]{1,128}$/;
const configs = new WeakMap<object, Config>();

/** First of all: the request's id, its configuration, and one log event when it is over. */
export const requestLog = createMiddleware<AppEnv>(async (c, next) => {
  const began = Date.now();
  const config = configOf(c.env);
  const sent = c.req.header("X-Request-Id") ?? "";
  const requestId = saneRequestId.test(sent) ? sent : crypto.randomUUID();
  const logger = createLogger("api_logger", config.logLevel, { request_id: requestId });
  c.set("config", config);
  c.set("requestId", requestId);
  c.set("logger", logger);
  c.set("event", {});
  await withHopTimes(async () => {
    await next();
    Object.assign(c.var.event, hopTimes());
  });
  c.res.headers.set("X-Request-Id", requestId);
  const status = c.res.status;
  // The path only: a query may hold what must not be in a log line. So may a path, where a key is sent for its id.
  const path = c.req.path.replaceAll(/(?<=\/)al_[\w-]{43,}/g, "al_***");
  logger[status >= 500 ? "error" : "info"]("request", {
    method: c.req.method,
    path,
    status,
    duration_ms: Date.now() - began,
    ...c.var.event,
  });
});

/** Parsed once for each isolate. All its problems are said in one log event. */
function configOf(env: Bindings): Config {
  const known = configs.get(env);
  if (known) return known;
  const config = parseConfig(env);
  configs.set(env, config);
  if (config.problems.length > 0) {
    createLogger("api_logger", config.logLevel).error("misconfigured", {
      problems: config.problems,
    });
  }
  return config;
}
