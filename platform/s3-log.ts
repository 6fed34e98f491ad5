import { createLogger, type LogFields, type LogLevel } from "./logger.ts";

/**
 * One log event for each try of an S3 call, of `s3_logger`: DEBUG where it went well, WARNING where not.
 *
 * @param about who it is done for: `request_id`, `tenant_id`
 */
export function s3Log(threshold: LogLevel, about: LogFields) {
  const logger = createLogger("s3_logger", threshold, about);
  return (call: { code?: string }): void => {
    logger[call.code === undefined ? "debug" : "warning"]("s3_call", call);
  };
}
