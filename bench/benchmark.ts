import { mkdir } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { findWorkerd } from "../local/workerd/start-workerd.ts";
import { Client, tokenOf } from "./client.ts";
import { Database } from "./database.ts";
import { seededRandom } from "./entries.ts";
import { benchmarkFlood, floodKey } from "./flood.ts";
import { startLoader } from "./load-process.ts";
import { benchmarkExports } from "./export-benchmark.ts";
import { load, measureAll, measureYardstick } from "./measure.ts";
import { type ApiReport, machineLine, type Report } from "./report.ts";
import { busyBetween, machineTime } from "./process-cpu.ts";
import { bulkSize, exportKey, makeBatches, makeScenarios } from "./scenarios.ts";
import { timeToSearchable } from "./searchable.ts";
import { startSystem, type Stops, type System } from "./system.ts";

export type BenchmarkOptions = {
  seconds: number;
  connections: number;
  /** Logs that are there before the reads. */
  logs: number;
  probes: number;
  /** Keys of scenarios, and `export`; all where it is undefined. */
  only: readonly string[] | undefined;
  exportRows: number;
  profileDir: string | undefined;
};

type Surroundings = {
  /** Gets what ends each part; to be run last first. */
  stops: Stops;
  /** Is told of a part that ended by itself. */
  broken: (how: string) => void;
  progress: (text: string) => void;
};

const indexTimeoutMs = 60_000;
const warmUpSeconds = 3;

/** Starts everything, measures, and leaves what it started running. */
export async function runBenchmark(
  options: BenchmarkOptions,
  { stops, broken, progress }: Surroundings,
): Promise<Report> {
  const { connections, seconds, profileDir, only } = options;
  if (profileDir !== undefined) await mkdir(profileDir, { recursive: true });
  const before = machineTime();
  await sleep(1_000);
  const busyBefore = busyBetween(before, machineTime());
  if (busyBefore > 0.2) progress(`This machine is ${Math.round(busyBefore * 100)} % busy already.`);
  const system = await startSystem(stops, profileDir !== undefined, progress);
  void system.broken.then(broken);
  const isApi = only?.some((key) => key !== exportKey && key !== floodKey) ?? true;
  const isFlood = only?.includes(floodKey) ?? true;
  const isExport = only?.includes(exportKey) ?? true;
  const api = isApi ? await benchmarkApi(options, system, stops, progress) : nothingMeasured;
  return {
    machine: machineLine(findWorkerd().version),
    busyBefore,
    connections,
    seconds,
    ...api,
    flood: isFlood
      ? await benchmarkFlood(system, connections, seededRandom(2), stops, progress)
      : undefined,
    exports: isExport
      ? await benchmarkExports(system, options.exportRows, profileDir, progress)
      : undefined,
    warnings: system.warnings,
  };
}

const nothingMeasured: ApiReport = {
  yardsticks: [],
  measured: [],
  searchable: undefined,
  rawInsertsPerSecond: undefined,
};

async function benchmarkApi(
  options: BenchmarkOptions,
  system: System,
  stops: Stops,
  progress: (text: string) => void,
): Promise<ApiReport> {
  const { connections, seconds, profileDir } = options;
  const database = new Database(system.databaseUrl, connections);
  stops.push(() => database.end());
  const loader = await startLoader();
  stops.push(() => loader.stop());

  const random = seededRandom(1);
  const readerToken = await tokenOf("reader", system.jwtSecret);
  const reader = new Client(system.apiPort, readerToken);
  const logIds: string[] = [];
  for (const batch of makeBatches(Math.round(options.logs / bulkSize), random)) {
    logIds.push(...(await reader.createMany(batch)));
  }
  if (system.hasOpenSearch) {
    const { left } = await database.drained(indexTimeoutMs);
    if (left > 0) throw new Error(`${left} logs were not indexed in ${indexTimeoutMs / 1000} s.`);
  } else progress("There is no OpenSearch here: searches are answered by Postgres.");
  progress(`${logIds.length} logs are there`);

  const tools = { loader, system, database };
  await measureYardstick(tools, { connections, seconds: 1, profileDir: undefined });
  const scenarios = makeScenarios({
    readerToken,
    writerToken: await tokenOf("writer", system.jwtSecret),
    logIds,
    source: system.hasOpenSearch ? "opensearch" : "postgres",
    random,
  });
  // The JVM of OpenSearch compiles its code while it runs: a cold one is several times slower.
  for (const scenario of scenarios.filter((one) => one.isSearch)) {
    await load(tools, scenario, connections, warmUpSeconds);
  }
  progress("warmed up");

  const searchable =
    options.probes > 0 && system.hasOpenSearch
      ? await timeToSearchable(reader, options.probes, random)
      : undefined;
  if (searchable) progress("time to searchable taken");

  const chosen = scenarios.filter((scenario) => options.only?.includes(scenario.key) ?? true);
  const windows = { connections, seconds, profileDir };
  const { measured, yardsticks } = await measureAll(tools, chosen, windows, progress);
  const rawInsertsPerSecond = await database.insertRate(
    makeBatches(20, random),
    connections,
    seconds * 500,
  );
  return { yardsticks, measured, searchable, rawInsertsPerSecond };
}
