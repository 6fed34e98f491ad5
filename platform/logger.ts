export const logLevels = ["DEBUG", "INFO", "WARNING", "ERROR"] as const;
export type LogLevel = (typeof logLevels)[number];

export type LogFields = Record<string, unknown>;

/** Writes one JSON object a line. `event` names what happened; fields never hold a value that a client sent unmasked. */
export type Logger = Record<
  "debug" | "info" | "warning" | "error",
  (event: string, fields?: LogFields) => void
>;

/**
 * @param name the logger's name as operators filter by it, such as `api_logger`
 * @param threshold the lowest level that is written
 * @param always fields of every event, such as the request's id
 */
export function createLogger(name: string, threshold: LogLevel, always: LogFields = {}): Logger {
  const at =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}) => {
      if (logLevels.indexOf(level) < logLevels.indexOf(threshold)) return;
      const line = JSON.stringify({
        time: new Date().toISOString(),
        level,
        logger: name,
        event,
        ...always,
        ...fields,
      });
      // oxlint-disable-next-line no-console -- the console is where a Worker's log lines go
      console[level === "ERROR" ? "error" : level === "WARNING" ? "warn" : "log"](line);
    };
  return { debug: at("DEBUG"), info: at("INFO"), warning: at("WARNING"), error: at("ERROR") };
}
