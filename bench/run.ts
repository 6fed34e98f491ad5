import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { stopAllChildren } from "../local/child.ts";
import { runBenchmark } from "./benchmark.ts";
import { reportText } from "./report.ts";
import { floodKey } from "./flood.ts";
import { bulkSize, exportKey, scenarioKeys } from "./scenarios.ts";
import type { Stops } from "./system.ts";

const onlyKeys = [...scenarioKeys, floodKey, exportKey];

const usage = `npm run bench -- [--seconds 8] [--connections 16] [--logs 10000] [--probes 16]
                 [--export-rows 100000] [--only ${onlyKeys.join(",")}]
                 [--json FILE] [--profile DIR]

Measures the API's bundle in workerd, over Postgres, SQS and OpenSearch on this machine, against a
Worker that only answers 204; a quiet tenant beside another's flood, against the same flood to a
Worker that only answers 429; then the exporter's, against COPY by the same Postgres. Takes about
nine minutes.

--seconds      length of each measured window
--connections  requests under way at the same time
--logs         logs that are there before the reads, in hundreds
--probes       how often the time until a log is searchable is taken; 0 leaves it out
--export-rows  logs of the export whose speed and memory are taken
--profile      writes CPU profiles of the Workers there; the figures are then a little worse`;

const giveUpMs = 10_000;

function readOptions(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      seconds: { type: "string", default: "8" },
      connections: { type: "string", default: "16" },
      logs: { type: "string", default: "10000" },
      probes: { type: "string", default: "16" },
      "export-rows": { type: "string", default: "100000" },
      only: { type: "string" },
      json: { type: "string" },
      profile: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  type Numeric = "seconds" | "connections" | "logs" | "probes" | "export-rows";
  const number = (name: Numeric, least: number): number => {
    const value = Number(values[name]);
    if (!(value >= least)) throw new TypeError(`--${name} is a number of at least ${least}`);
    return value;
  };
  const only = values.only?.split(",");
  const unknown = only?.filter((key) => !onlyKeys.some((known) => known === key)) ?? [];
  if (unknown.length > 0) throw new TypeError(`--only takes ${onlyKeys.join(", ")}`);
  return {
    seconds: number("seconds", 0.5),
    connections: Math.floor(number("connections", 1)),
    logs: number("logs", bulkSize),
    probes: Math.floor(number("probes", 0)),
    exportRows: Math.floor(number("export-rows", 1)),
    only,
    json: values.json,
    profileDir: values.profile,
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
    console.error(`${messageOf(error)}\n\n${usage}`);
    return 2;
  }
  if (options.help) {
    console.log(usage);
    return 0;
  }
  const stops: Stops = [];
  const ended = Promise.withResolvers<string>();
  process.once("SIGINT", () => ended.resolve("Stopped."));
  process.once("SIGTERM", () => ended.resolve("Stopped."));
  const running = runBenchmark(options, { stops, broken: ended.resolve, progress });
  try {
    const report = await Promise.race([running, ended.promise]);
    if (typeof report === "string") {
      console.error(report);
      return 1;
    }
    console.log(`\n${reportText(report)}`);
    if (options.json) await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`);
    return report.measured.some((one) => one.errors > 0) ? 1 : 0;
  } finally {
    // Whatever is under way fails now, and cleans up behind itself before the folder goes.
    await stopAllChildren();
    await Promise.race([running.catch(() => {}), sleep(giveUpMs)]);
    for (const stop of stops.toReversed())
      await Promise.race([stop().catch(() => {}), sleep(giveUpMs)]);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
process.exit();
