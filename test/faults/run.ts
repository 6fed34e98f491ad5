import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { stopAllChildren } from "../../local/child.ts";
import { startBackends } from "../../local/stack.ts";
import { withStrictS3 } from "../tools/strict-bucket.ts";
import { startStrictS3 } from "../tools/strict-s3.ts";
import { bundleCluster } from "./cluster.ts";
import { runFaults } from "./harness.ts";
import { isBroken, reportText } from "./report-text.ts";

const usage = `npm run test:faults -- [--seed N] [--minutes M] [--runs R]

Runs the whole service while Postgres, OpenSearch, SQS and S3 fail in every way and workerd is killed,
and then checks that nothing acknowledged was lost. Everything is on loopback, in a temporary folder.

--seed     decides what is sent and what fails when; one of the clock where it is left out
--minutes  how long faults go on, a fraction too (2); up to 4 more pass until all is at rest
--runs     runs one after the other, with seeds that follow each other (1)`;

const settleMs = 240_000;

function readOptions(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      minutes: { type: "string", default: "2" },
      runs: { type: "string", default: "1" },
      help: { type: "boolean", default: false },
    },
  });
  const number = (name: "seed" | "minutes" | "runs"): number => {
    const value = Number(values[name]);
    if (!(value >= 0)) throw new TypeError(`--${name} is a number`);
    return value;
  };
  return {
    seed: Math.floor(number("seed")),
    minutes: number("minutes"),
    runs: Math.floor(number("runs")),
    help: values.help,
  };
}

const began = Date.now();
function progress(text: string): void {
  console.error(`${((Date.now() - began) / 1000).toFixed(0).padStart(4)} s  ${text}`);
}

async function main(): Promise<number> {
  let options: ReturnType<typeof readOptions>;
  try {
    options = readOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
  if (options.help) {
    console.log(usage);
    return 0;
  }
  const dir = await mkdtemp(join(tmpdir(), "audit-log-faults-"));
  const backends = await startBackends({
    dataDir: join(dir, "data"),
    persistent: false,
    fast: true,
    // Not this process's environment: faults must not reach a database that someone uses.
    environment: {},
    onProgress: progress,
  });
  const broken: number[] = [];
  const s3 = await startStrictS3(join(dir, "s3"), progress);
  try {
    if ("missing" in s3) throw new Error(s3.missing);
    if (backends.searchNote !== undefined) throw new Error(backends.searchNote);
    const bundled = await bundleCluster(join(dir, "workers"));
    for (let n = 0; n < options.runs; n++) {
      const seed = options.seed + n;
      const report = await Promise.race([
        runFaults({
          seed,
          seconds: options.minutes * 60,
          settleMs,
          backends: withStrictS3(backends.env, s3),
          bundled,
          dir: join(dir, "workers"),
          onProgress: progress,
        }),
        backends.broken.then((how) => Promise.reject(new Error(how))),
      ]);
      console.log(reportText(report));
      if (isBroken(report)) broken.push(seed);
    }
  } finally {
    if (!("missing" in s3)) await s3.stop();
    await backends.stop();
    await stopAllChildren();
    if (broken.length === 0) await rm(dir, { recursive: true, force: true });
  }
  if (broken.length === 0) return 0;
  console.log(`\nThe Workers' logs and the exported files are in ${dir}. To run them again:`);
  for (const seed of broken)
    console.log(`npm run test:faults -- --seed ${seed} --minutes ${options.minutes}`);
  return 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
process.exit();
