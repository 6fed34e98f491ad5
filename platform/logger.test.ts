import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createLogger, type LogLevel } from "./logger.ts";

const methods = ["log", "warn", "error"] as const;
let lines: { method: string; line: string }[] = [];

beforeEach(() => {
  lines = [];
  for (const method of methods) {
    vi.spyOn(console, method).mockImplementation(
      (line) => void lines.push({ method, line: String(line) }),
    );
  }
});
afterEach(() => {
  vi.restoreAllMocks();
});

function writeAll(threshold: LogLevel): string[] {
  const logger = createLogger("test", threshold);
  logger.debug("a");
  logger.info("b");
  logger.warning("c");
  logger.error("d");
  return lines.map(
    ({ method, line }) => `${method} ${(JSON.parse(line) as { level: string }).level}`,
  );
}

describe("a logger", () => {
  test("writes one line of JSON with the time, its name, the event and the fields", () => {
    createLogger("api_logger", "INFO").info("request", { status: 201, note: "two\nlines" });
    const [{ line } = { line: "" }] = lines;
    expect(lines).toHaveLength(1);
    expect(line).not.toContain("\n");
    expect(JSON.parse(line)).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      level: "INFO",
      logger: "api_logger",
      event: "request",
      status: 201,
      note: "two\nlines",
    });
  });

  test.each([
    ["DEBUG", ["log DEBUG", "log INFO", "warn WARNING", "error ERROR"]],
    ["INFO", ["log INFO", "warn WARNING", "error ERROR"]],
    ["WARNING", ["warn WARNING", "error ERROR"]],
    ["ERROR", ["error ERROR"]],
  ] as const)(
    "of the level %s writes nothing below, and each level where a console shows it",
    (threshold, written) => {
      expect(writeAll(threshold)).toEqual(written);
    },
  );
});
