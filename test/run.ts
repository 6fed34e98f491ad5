import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { findConfigs } from "../local/workers.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * `npm test`: lint, format, types, the bundle of each Worker, and the tests with their coverage. All of it
 * runs, whatever fails first. The last line counts: `N passed, N failed`.
 */
async function runAll(): Promise<number> {
  const dir = await mkdtemp(join(tmpdir(), "audit-log-checks-"));
  const report = join(dir, "tests.json");
  const bundles = findConfigs(root).map((config, n): [string, string[]] => [
    `bundle of ${relative(root, config)}`,
    ["wrangler", "deploy", "--dry-run", "--outdir", join(dir, String(n)), "-c", config],
  ]);
  const checks: [string, string[]][] = [
    ["lint", ["npm", "run", "--silent", "lint"]],
    ["format", ["npm", "run", "--silent", "format:check"]],
    ["types", ["npm", "run", "--silent", "types"]],
    ...bundles,
  ];
  const failed: string[] = [];
  for (const [name, command] of checks) if (!(await succeeds(name, command))) failed.push(name);

  const files = process.argv.slice(2);
  const isWhole = files.length === 0;
  const vitest = [
    "vitest",
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
  ];
  const isGreen = await succeeds("tests", [...vitest, ...(isWhole ? ["--coverage"] : files)]);
  const counts = await readCounts(report);
  await rm(dir, { recursive: true, force: true });
  // Vitest also fails for what is no test: too little coverage, or an error outside of any.
  const hasOtherFailure = !isGreen && counts.failed === 0;
  if (hasOtherFailure) failed.push("coverage, or an error outside of a test");

  if (failed.length > 0) console.log(`\nFailed besides the tests: ${failed.join("; ")}`);
  const allFailed = counts.failed + failed.length;
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
  console.log(
    `\n${counts.passed + checks.length - failed.length + Number(hasOtherFailure)} passed, ${allFailed} failed${skipped}`,
  );
  return allFailed === 0 ? 0 : 1;
}

async function succeeds(name: string, [program = "", ...args]: string[]): Promise<boolean> {
  console.log(`\n=== ${name}`);
  const env = { ...process.env, WRANGLER_SEND_METRICS: "false" };
  const child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"], env });
  const [code] = await once(child, "exit");
  return code === 0;
}

const report = z.object({
  numPassedTests: z.int(),
  numFailedTests: z.int(),
  numPendingTests: z.int(),
  testResults: z.array(z.object({ status: z.string(), assertionResults: z.array(z.unknown()) })),
});

async function readCounts(
  file: string,
): Promise<{ passed: number; failed: number; skipped: number }> {
  try {
    const found = report.parse(JSON.parse(await readFile(file, "utf8")));
    // A file that could not even be loaded has no tests to fail.
    const broken = found.testResults.filter(
      (one) => one.status === "failed" && one.assertionResults.length === 0,
    ).length;
    return {
      passed: found.numPassedTests,
      failed: found.numFailedTests + broken,
      skipped: found.numPendingTests,
    };
  } catch {
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

process.exitCode = await runAll();
