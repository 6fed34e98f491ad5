import { expect, test } from "vitest";
import { createOutputFilter } from "./dev-output.ts";

const lines = [
  "Using secrets defined in process.env",
  "▲ [WARNING] Scheduled Workers are not automatically triggered during local development.",
  "",
  "  To manually trigger a scheduled event, run:",
  "[wrangler:info] Ready on http://127.0.0.1:8787",
  '[audit-log-api] {"level":"INFO","event":"request"}',
  '[audit-log-indexer] {"level":"ERROR","event":"bulk"}',
  "[audit-log-api] not JSON",
  '✘ [ERROR] Could not resolve "./missing.ts"',
  "",
  "    worker/app.ts:3:24:",
  "⎔ Reloading local server...",
  "    not part of an error",
];

function shown(verbose: boolean): string[] {
  const filter = createOutputFilter(verbose);
  return lines.flatMap((line) => filter(line) ?? []);
}

test("the terminal gets errors, with what belongs to them", () => {
  expect(shown(false)).toEqual([
    '[audit-log-indexer] {"level":"ERROR","event":"bulk"}',
    '✘ [ERROR] Could not resolve "./missing.ts"',
    "",
    "    worker/app.ts:3:24:",
  ]);
});

test("--verbose adds every log line of the Workers", () => {
  expect(shown(true)).toEqual([
    '[audit-log-api] {"level":"INFO","event":"request"}',
    '[audit-log-indexer] {"level":"ERROR","event":"bulk"}',
    "[audit-log-api] not JSON",
    '✘ [ERROR] Could not resolve "./missing.ts"',
    "",
    "    worker/app.ts:3:24:",
  ]);
});
