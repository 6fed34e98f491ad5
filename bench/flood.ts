import { setTimeout as sleep } from "node:timers/promises";
import { windowSeconds } from "../worker/limits/rate-limits.ts";
import { Client, tokenOf } from "./client.ts";
import { Database } from "./database.ts";
import { makeEntries } from "./entries.ts";
import { requestText } from "./http-text.ts";
import type { LoadResult } from "./load.ts";
import { startLoader } from "./load-process.ts";
import { bulkSize, makeBatches } from "./scenarios.ts";
import type { Latency } from "./statistics.ts";
import type { Stops, System } from "./system.ts";
import { ms } from "./text-table.ts";

/** What the option `--only` calls it. */
export const floodKey = "flood";

const windowMs = windowSeconds * 1_000;
/** All begin before a window does: connections are there then, and a flood has spent what it may send at once. */
const aheadMs = 2_000;
/** From the begin of a window of the limits until there is just time to begin before the next. */
const measureMs = windowMs - aheadMs - 500;
/** Odd, so that there is one in the middle. */
const rounds = 5;
const drainTimeoutMs = 40_000;
/** What a client needs before it tries again that does not wait as it is told. */
export const floodPauseMs = 50;
const quietConnections = 4;
const quietPauseMs = 100;

/** What one window says. */
export type Seen = {
  /** The quiet tenant's. */
  latencyMs: Latency;
  /** What the API's process used, as a part of one core. */
  apiCpu: number | undefined;
  /** What the flood got done, and what it was refused: a second. */
  floodPerSecond: number;
  refusedPerSecond: number;
};
type Round = Record<"alone" | "limited" | "low" | "answered", Seen>;
export type FloodReport = {
  connections: number;
  rounds: Round[];
  /** Once, and last: what it stores takes long to be indexed. */
  unlimited: Seen;
};

/**
 * One tenant writes and reads a little: alone, then while another sends bulks as fast as it gets answers, and
 * does not care what they are. The flood goes to the same Worker, with the limits as deployed, of a tenant in the
 * tier `standard` and of one in `low`; to a Worker that only answers, in the same process; and to the service
 * without any limits. The one that is only answered is what a flood costs those who share a machine with it,
 * whatever it is sent to.
 */
export async function benchmarkFlood(
  system: System,
  connections: number,
  random: () => number,
  stops: Stops,
  progress: (text: string) => void,
): Promise<FloodReport> {
  const [quiet, flood] = await Promise.all([startLoader(), startLoader()]);
  const database = new Database(system.databaseUrl, 1);
  stops.push(
    () => quiet.stop(),
    () => flood.stop(),
    () => database.end(),
  );
  const quietRequests = await makeQuietRequests(system, random);
  const floodOf = async (tenant: string): Promise<string[]> => {
    const token = await tokenOf(tenant, system.jwtSecret);
    return makeBatches(20, random).map((logs) => {
      const body = JSON.stringify({ logs });
      return requestText({ method: "POST", path: "/api/v1/logs/bulk", token, body });
    });
  };
  const standard = await floodOf("flood");
  await database.putInTier("flood-low", "low");
  const low = await floodOf("flood-low");
  const runQuiet = async (port: number): Promise<LoadResult> => {
    const result = await quiet.run({
      ...window(port),
      connections: quietConnections,
      pauseMs: quietPauseMs,
      requests: quietRequests,
      status: 200,
      orStatus: 201,
      contains: '{"data":{"id":',
      pids: [system.api.pid],
    });
    refuseErrors(result);
    return result;
  };
  const runFlood = (port: number, requests: string[]): Promise<LoadResult> =>
    flood.run({
      ...window(port),
      connections,
      pauseMs: floodPauseMs,
      requests,
      status: 201,
      refusedStatus: 429,
      contains: "",
      pids: [],
    });
  /** The quiet tenant's requests go to the first port, the flood to the second. */
  const see = async (
    name: string,
    quietPort: number,
    floodPort?: number,
    requests = standard,
  ): Promise<Seen> => {
    await sleep(windowMs - ((Date.now() + aheadMs) % windowMs));
    const [result, flooded] = await Promise.all([
      runQuiet(quietPort),
      floodPort === undefined ? undefined : runFlood(floodPort, requests),
    ]);
    if (flooded) refuseErrors(flooded);
    const { latencyMs, seconds, cpuSeconds } = result;
    if (!latencyMs) throw new Error("The quiet tenant got no answer.");
    progress(`flood: a quiet tenant ${name}, p50 ${ms(latencyMs.p50)} ms`);
    // What this window left behind is none of the next one's.
    if (flooded && flooded.requests > 0 && system.hasOpenSearch)
      await database.drained(drainTimeoutMs);
    return {
      latencyMs,
      apiCpu: cpuSeconds[0] == null ? undefined : cpuSeconds[0] / seconds,
      floodPerSecond: (flooded?.requests ?? 0) / seconds,
      refusedPerSecond: (flooded?.refused ?? 0) / seconds,
    };
  };
  const { limitedPort, refusingPort, apiPort } = system;
  for (const port of [limitedPort, apiPort]) await runQuiet(port);
  const seen: Round[] = [];
  // Each round has all of them, so that what else the machine does meets all alike.
  while (seen.length < rounds) {
    seen.push({
      alone: await see("alone", limitedPort),
      limited: await see("beside a flood", limitedPort, limitedPort),
      low: await see("beside a flood of the tier low", limitedPort, limitedPort, low),
      answered: await see("beside one that is only answered", limitedPort, refusingPort),
    });
  }
  const unlimited = await see("without limits", apiPort, apiPort);
  return { connections, rounds: seen, unlimited };
}

const window = (port: number) => ({ port, warmUpMs: aheadMs, measureMs });

/** Single writes and reads by id, in turn: what an application does all day. */
async function makeQuietRequests(system: System, random: () => number): Promise<string[]> {
  const token = await tokenOf("quiet", system.jwtSecret);
  const ids = await new Client(system.apiPort, token).createMany(makeEntries(bulkSize, random));
  return ids.flatMap((id) => [
    requestText({ method: "GET", path: `/api/v1/logs/${id}`, token }),
    ...makeEntries(1, random).map((entry) =>
      requestText({ method: "POST", path: "/api/v1/logs", token, body: JSON.stringify(entry) }),
    ),
  ]);
}

function refuseErrors({ errors, firstError }: LoadResult): void {
  if (errors > 0)
    throw new Error(`The flood met ${errors} wrong answers, the first: ${firstError}`);
}
