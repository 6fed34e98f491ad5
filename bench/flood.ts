import { windowSeconds } from "../worker/limits/rate-limits.ts";
import { Client, tokenOf } from "./client.ts";
import { requestText } from "./http-text.ts";
import type { LoadResult } from "./load.ts";
import { type Loader, startLoader } from "./load-process.ts";
import { bulkSize, makeBatches } from "./scenarios.ts";
import type { Latency } from "./statistics.ts";
import type { Stops, System } from "./system.ts";
import { alignColumns, ms, whole } from "./text-table.ts";
import { makeEntries } from "./entries.ts";

/** What the option `--only` calls it. */
export const floodKey = "flood";

/** Whole windows of the limits: in part of one, a flood may have all of its share or none. */
const measureMs = 2 * windowSeconds * 1_000;
const warmUpMs = 1_000;
/** What a client needs before it tries again that does not wait as it is told. */
const floodPauseMs = 50;
const quietConnections = 4;
const quietPauseMs = 100;

type Beside = {
  /** The quiet tenant's. */
  latencyMs: Latency;
  /** What the flood got done, and what it was refused: a second. */
  floodPerSecond: number;
  refusedPerSecond: number;
};
export type FloodReport = {
  connections: number;
  /** Before and after the floods. */
  alone: Latency;
  aloneAgain: Latency;
  limited: Beside;
  unlimited: Beside;
};

/**
 * One tenant writes and reads a little, while another sends bulks as fast as it gets answers, and does not care
 * what they are: with the limits of the tier `standard`, as deployed, and without any. Both in one isolate, on the same
 * stores.
 */
export async function benchmarkFlood(
  system: System,
  connections: number,
  random: () => number,
  stops: Stops,
  progress: (text: string) => void,
): Promise<FloodReport> {
  const [quiet, flood] = await Promise.all([startLoader(), startLoader()]);
  stops.push(
    () => quiet.stop(),
    () => flood.stop(),
  );
  const quietRequests = await makeQuietRequests(system, random);
  const token = await tokenOf("flood", system.jwtSecret);
  const floodRequests = makeBatches(20, random).map((logs) =>
    requestText({
      method: "POST",
      path: "/api/v1/logs/bulk",
      token,
      body: JSON.stringify({ logs }),
    }),
  );

  const alone = async (port: number): Promise<Latency> => {
    const { latencyMs } = await runQuiet(quiet, port, quietRequests);
    progress(`flood: the quiet tenant alone, p50 ${ms(latencyMs.p50)} ms`);
    return latencyMs;
  };
  const beside = async (port: number): Promise<Beside> => {
    const flooding = flood.run({
      port,
      connections,
      pauseMs: floodPauseMs,
      warmUpMs,
      measureMs,
      requests: floodRequests,
      status: 201,
      refusedStatus: 429,
      contains: "",
      pids: [],
    });
    const [{ latencyMs }, flooded] = await Promise.all([
      runQuiet(quiet, port, quietRequests),
      flooding,
    ]);
    refuseErrors(flooded);
    progress(`flood: the quiet tenant beside it, p50 ${ms(latencyMs.p50)} ms`);
    return {
      latencyMs,
      floodPerSecond: flooded.requests / flooded.seconds,
      refusedPerSecond: flooded.refused / flooded.seconds,
    };
  };
  return {
    connections,
    alone: await alone(system.limitedPort),
    limited: await beside(system.limitedPort),
    unlimited: await beside(system.apiPort),
    aloneAgain: await alone(system.limitedPort),
  };
}

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

async function runQuiet(loader: Loader, port: number, requests: string[]) {
  const result = await loader.run({
    port,
    connections: quietConnections,
    pauseMs: quietPauseMs,
    warmUpMs,
    measureMs,
    requests,
    status: 200,
    orStatus: 201,
    contains: '{"data":{"id":',
    pids: [],
  });
  refuseErrors(result);
  const { latencyMs } = result;
  if (!latencyMs) throw new Error("The quiet tenant got no answer.");
  return { latencyMs };
}

function refuseErrors({ errors, firstError }: LoadResult): void {
  if (errors > 0)
    throw new Error(`The flood met ${errors} wrong answers, the first: ${firstError}`);
}

export function floodLines(report: FloodReport): string[] {
  const { alone, aloneAgain, limited, unlimited, connections } = report;
  const mean = (key: keyof Latency) => (alone[key] + aloneAgain[key]) / 2;
  const row = (name: string, one: Latency, flood?: Beside): string[] => [
    name,
    ms(one.p50),
    ms(one.p95),
    ms(one.p99),
    (one.p50 / mean("p50")).toFixed(2),
    (one.p99 / mean("p99")).toFixed(2),
    flood ? whole(flood.floodPerSecond) : "",
    flood ? whole(flood.refusedPerSecond) : "",
  ];
  return [
    "",
    ...alignColumns([
      ["a quiet tenant", "p50 ms", "p95 ms", "p99 ms", "p50 ×", "p99 ×", "flood/s", "429/s"],
      row("alone", alone),
      row("alone, after", aloneAgain),
      row("beside a flood", limited.latencyMs, limited),
      row("the same, without limits", unlimited.latencyMs, unlimited),
    ]),
    "",
    `The quiet tenant writes and reads single logs, about 40 a second. The flood: bulks of ${bulkSize} of one caller of`,
    `another tenant in the tier standard, ${connections} at a time, each sent ${floodPauseMs} ms after the last was answered or refused.`,
    "×: beside what it is alone, before and after.",
  ];
}
