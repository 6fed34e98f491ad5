import { join } from "node:path";
import type { Database, Drained } from "./database.ts";
import type { LoadResult } from "./load.ts";
import type { Loader } from "./load-process.ts";
import { profiled } from "./profile.ts";
import type { Scenario } from "./scenarios.ts";
import { requestText } from "./http-text.ts";
import { compare, type Comparison, type Latency, type Rate, rateOf } from "./statistics.ts";
import type { Served, System } from "./system.ts";

export type Measured = Rate &
  Comparison & {
    name: string;
    latencyMs: Latency | undefined;
    logsPerRequest: number;
    logsPerSecond: number;
    /** What the indexer's process used besides, for each log that was written. Milliseconds of one core. */
    indexerCpuMsPerLog: number | undefined;
    /** How the index caught up after the load. */
    drained: Drained | undefined;
    /** The part of all cores that was busy: near 1, more cores would answer more. */
    busy: number;
    errors: number;
    firstError: string | undefined;
  };

export type MeasureOptions = {
  connections: number;
  seconds: number;
  /** A folder for CPU profiles of the Workers. */
  profileDir: string | undefined;
};
type Tools = { loader: Loader; system: System; database: Database };

const warmUpMs = 2_000;
const yardstickWarmUpMs = 500;
const drainTimeoutMs = 25_000;

/** What the Worker that only answers 204 does now. */
export async function measureYardstick(
  { loader, system }: Tools,
  options: MeasureOptions,
): Promise<Rate> {
  const result = await loader.run({
    port: system.noContentPort,
    connections: options.connections,
    warmUpMs: yardstickWarmUpMs,
    measureMs: options.seconds * 400,
    requests: [requestText({ method: "GET", path: "/" })],
    status: 204,
    contains: "",
    pids: [system.api.pid],
  });
  if (result.errors > 0) throw new Error(`The Worker that answers 204: ${result.firstError}`);
  return rateOf(windowOf(result));
}

/** Each scenario, with the yardstick between them: its neighbours are what it is compared with. */
export async function measureAll(
  tools: Tools,
  scenarios: readonly Scenario[],
  options: MeasureOptions,
  onProgress: (text: string) => void,
): Promise<{ measured: Measured[]; yardsticks: Rate[] }> {
  const yardsticks = [await measureYardstick(tools, options)];
  const measured: Measured[] = [];
  for (const scenario of scenarios) {
    const result = await measureScenario(tools, scenario, options);
    const drained =
      scenario.logsPerRequest > 0 && tools.system.hasOpenSearch
        ? await tools.database.drained(drainTimeoutMs)
        : undefined;
    const before = yardsticks.at(-1);
    const after = await measureYardstick(tools, options);
    yardsticks.push(after);
    const rate = rateOf(windowOf(result));
    const logs = result.requests * scenario.logsPerRequest;
    const indexerCpu = result.cpuSeconds[1] ?? undefined;
    measured.push({
      ...rate,
      ...compare(rate, before ?? after, after),
      name: scenario.name,
      latencyMs: result.latencyMs,
      logsPerRequest: scenario.logsPerRequest,
      logsPerSecond: logs / result.seconds,
      indexerCpuMsPerLog:
        logs === 0 || indexerCpu === undefined ? undefined : (indexerCpu * 1000) / logs,
      drained,
      busy: result.busy,
      errors: result.errors,
      firstError: result.firstError,
    });
    onProgress(`${scenario.name}: ${Math.round(rate.perSecond)} requests/s`);
  }
  return { measured, yardsticks };
}

async function measureScenario(
  tools: Tools,
  scenario: Scenario,
  options: MeasureOptions,
): Promise<LoadResult> {
  const run = () => load(tools, scenario, options.connections, options.seconds);
  const { profileDir } = options;
  if (profileDir === undefined) return run();
  const { api, indexer } = tools.system;
  const fileOf = ({ service }: Served) => join(profileDir, `${scenario.key}-${service}.cpuprofile`);
  return profiled(api, fileOf(api), () => profiled(indexer, fileOf(indexer), run));
}

/** Sends a scenario's requests for a while, and after a warm-up says how that went. */
export function load(
  { loader, system }: Tools,
  scenario: Scenario,
  connections: number,
  seconds: number,
): Promise<LoadResult> {
  return loader.run({
    port: system.apiPort,
    connections,
    warmUpMs,
    measureMs: seconds * 1000,
    requests: scenario.requests,
    status: scenario.status,
    contains: scenario.contains,
    pids: [system.api.pid, system.indexer.pid],
  });
}

function windowOf({ requests, seconds, cpuSeconds }: LoadResult) {
  return { requests, seconds, cpuSeconds: cpuSeconds[0] ?? undefined };
}
