import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { findConfigs } from "../local/workers.ts";
import { auditDependencies } from "./tools/audit.ts";
import { type BundledPackage, bundledPackages } from "./tools/bundled-packages.ts";
import { type BundleSize, bundleSize, sizeTable, tooLarge } from "./tools/bundle-sizes.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * `npm test`: lint, format, types, the bundle of each Worker, its size and its packages, an audit of them, and
 * the tests with their coverage. All of it runs, whatever fails first. The last line counts:
 * `N passed, N failed`.
 */
async function runAll(): Promise<number> {
  const dir = await mkdtemp(join(tmpdir(), "audit-log-checks-"));
  const report = join(dir, "tests.json");
  const sizes: BundleSize[] = [];
  const metafiles: string[] = [];
  const checks: [string, () => Promise<Outcome>][] = [
    ...["lint", "format:check", "types"].map((script): (typeof checks)[number] => [
      script,
      async () => outcomeOf(await runs("npm", ["run", "--silent", script])),
    ]),
    ...findConfigs(root).map((config, n): (typeof checks)[number] => [
      `bundle of ${relative(root, config)}`,
      async () => {
        const metafile = join(dir, `${n}.json`);
        const args = ["deploy", "--dry-run", "--outdir", join(dir, String(n)), "-c", config];
        args.push("--metafile", metafile);
        const { isGood, output } = await runs("wrangler", args, "read");
        const size = bundleSize(relative(root, config), output);
        if (size) sizes.push(size);
        if (isGood) metafiles.push(metafile);
        return isGood && size ? "passed" : "failed";
      },
    ]),
    ["sizes of the bundles", async () => checkSizes(sizes)],
    ["packages in the bundles", () => checkPackages(metafiles)],
    ["audit", checkAudit],
  ];
  const failed: string[] = [];
  let skippedChecks = 0;
  for (const [name, check] of checks) {
    console.log(`\n=== ${name}`);
    const outcome = await check();
    if (outcome === "failed") failed.push(name);
    if (outcome === "skipped") skippedChecks++;
  }

  const files = process.argv.slice(2);
  const isWhole = files.length === 0;
  const vitest = ["run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  console.log("\n=== tests");
  const { isGood: isGreen } = await runs("vitest", [
    ...vitest,
    ...(isWhole ? ["--coverage"] : files),
  ]);
  const counts = await readCounts(report);
  await rm(dir, { recursive: true, force: true });
  // Vitest also fails for what is no test: too little coverage, or an error outside of any.
  const hasOtherFailure = !isGreen && counts.failed === 0;
  if (hasOtherFailure) failed.push("coverage, or an error outside of a test");

  if (failed.length > 0) console.log(`\nFailed besides the tests: ${failed.join("; ")}`);
  const allFailed = counts.failed + failed.length;
  const allSkipped = counts.skipped + skippedChecks;
  const skipped = allSkipped > 0 ? `, ${allSkipped} skipped` : "";
  const passed =
    counts.passed + checks.length - skippedChecks - failed.length + Number(hasOtherFailure);
  console.log(`\n${passed} passed, ${allFailed} failed${skipped}`);
  return allFailed === 0 ? 0 : 1;
}

type Outcome = "passed" | "failed" | "skipped";
type Run = { isGood: boolean; output: string };

const outcomeOf = ({ isGood }: Run): Outcome => (isGood ? "passed" : "failed");

/** Runs a program before everyone's eyes; what it writes is in the result where it is to be read. */
async function runs(program: string, args: string[], output: "show" | "read" = "show") {
  const env = { ...process.env, WRANGLER_SEND_METRICS: "false" };
  const stdout = output === "read" ? "pipe" : "inherit";
  const child = spawn(program, args, { stdio: ["ignore", stdout, "inherit"], env });
  let text = "";
  child.stdout?.on("data", (piece: Buffer) => {
    process.stdout.write(piece);
    text += piece.toString();
  });
  const [code] = await once(child, "close");
  return { isGood: code === 0, output: text } satisfies Run;
}

function checkSizes(sizes: readonly BundleSize[]): Outcome {
  console.log(sizeTable(sizes));
  const refused = tooLarge(sizes);
  if (refused.length > 0) console.log(`Cloudflare would not take ${refused.join(", ")}.`);
  return refused.length === 0 ? "passed" : "failed";
}

/** The audit asks about dependencies only: what ships in a Worker must be one, its own or another's. */
async function checkPackages(metafiles: readonly string[]): Promise<Outcome> {
  const lock = await readFile(join(root, "package-lock.json"), "utf8");
  const packages = new Map<string, BundledPackage>();
  for (const metafile of metafiles) {
    const found = bundledPackages(await readFile(metafile, "utf8"), lock);
    for (const one of found) packages.set(one.folder, one);
  }
  for (const { folder, version, isAudited } of packages.values())
    console.log(`${folder} ${version}${isAudited ? "" : ": is not audited"}`);
  return [...packages.values()].every(({ isAudited }) => isAudited) ? "passed" : "failed";
}

async function checkAudit(): Promise<Outcome> {
  const audit = await auditDependencies(root);
  switch (audit.outcome) {
    case "clean":
      console.log("No advisory is known about what ships in the Workers.");
      return "passed";
    case "vulnerable":
      console.log(audit.packages.join("\n"));
      return "failed";
    case "unknown":
      console.log(`Skipped, since the registry was not to be asked: ${audit.reason}`);
      return "skipped";
  }
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
