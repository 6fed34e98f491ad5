import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { seededRandom } from "../../bench/entries.ts";
import type { BundledWorker } from "../../local/workerd/bundle-worker.ts";
import { apiClient } from "./api-client.ts";
import type { Check } from "./check.ts";
import { checkExports } from "./check-exports.ts";
import { checkIndexed } from "./check-indexed.ts";
import { checkLeftOver } from "./check-left-over.ts";
import { checkMarks } from "./check-marks.ts";
import { checkStored } from "./check-stored.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import type { AskedExport } from "./export-clients.ts";
import { readLateWrites } from "./late-commits.ts";
import { Ledger } from "./ledger.ts";
import { passTime } from "./pass-time.ts";
import { type FaultEvent, planFaults } from "./plan-faults.ts";
import { calm, settle } from "./settle.ts";
import { startClients } from "./start-clients.ts";
import { readStoredLogs } from "./stored-logs.ts";
import { WorkerLog } from "./worker-log.ts";
import { openWorld, type World } from "./world.ts";
import { writeManyLarge } from "./writers.ts";

export type HarnessOptions = {
  seed: number;
  /** How long faults go on. What follows takes up to `settleMs` more. */
  seconds: number;
  settleMs: number;
  /** Variables of running backends; the run makes a database, queues and a bucket of its own there. */
  backends: Readonly<Record<string, string>>;
  /** What bundleCluster gave for `dir`, a folder that the run may fill. */
  bundled: readonly BundledWorker[];
  dir: string;
  onProgress: (text: string) => void;
};

export type Report = {
  seed: number;
  seconds: number;
  settledMs: number;
  logs: { acknowledged: number; stored: number };
  requests: ReadonlyMap<string, number>;
  faults: ReadonlyMap<string, number>;
  kills: number;
  /** Events of the Workers' logs that tell of a failure and of what was done about it. */
  retries: ReadonlyMap<string, number>;
  checks: readonly Check[];
};

/** Runs clients against the whole service while everything around it fails, and then counts. */
export async function runFaults(options: HarnessOptions): Promise<Report> {
  const { seed, backends, bundled, dir, onProgress } = options;
  const runDir = join(dir, `seed-${seed}`);
  await mkdir(runDir, { recursive: true });
  const world = await openWorld(backends, seed);
  const workerLog = new WorkerLog(world.marker, createWriteStream(join(runDir, "workers.log")));
  try {
    const cluster = await startCluster(
      { dir, env: world.env, onOutput: (line) => workerLog.read(line) },
      bundled,
    );
    try {
      onProgress(`seed ${seed}: the Workers run`);
      return await runOn(world, cluster, workerLog, runDir, options);
    } finally {
      await cluster.stop();
    }
  } finally {
    await workerLog.end();
    await world.stop();
  }
}

async function runOn(
  world: World,
  cluster: Cluster,
  workerLog: WorkerLog,
  runDir: string,
  { seed, seconds, settleMs, backends, onProgress }: HarnessOptions,
): Promise<Report> {
  const ledger = new Ledger();
  const secret = backends["JWT_SECRET"] ?? "";
  const clients = await Promise.all(
    world.tenants.map((tenant) => apiClient(cluster.url, tenant, secret)),
  );
  const randomOf = (part: number) => seededRandom(seed * 1_000 + part);
  const asked: AskedExport[] = [];
  const stopped = new AbortController();
  const { signal } = stopped;
  const [heavy] = clients;
  if (heavy) await writeManyLarge(heavy, ledger, `${world.marker}-large`, randomOf(1));
  const { followers, running } = await startClients({
    world,
    clients,
    ledger,
    asked,
    randomOf,
    signal,
  });
  const ended = Promise.all(running);
  const plan = planFaults(randomOf(2), seconds * 1000);
  const kills = await Promise.race([
    play(plan, world, cluster, seconds * 1000),
    ended.then(() => 0),
  ]);
  stopped.abort();
  await calm(world);
  await cluster.restart();
  await ended;
  onProgress(`seed ${seed}: faults are over, ${ledger.acknowledged.length} logs acknowledged`);

  const settled = await settle(world, cluster, clients, followers, settleMs, (left) =>
    onProgress(`seed ${seed}: left to do: ${left}`),
  );
  onProgress(`seed ${seed}: settled in ${(settled.tookMs / 1000).toFixed(0)} s`);
  const stored = await readStoredLogs(world);
  const poisonedMarkers = new Set(
    ledger.writes
      .flatMap(({ logs }) => logs.filter((log) => log.isPoisoned))
      .map((log) => log.marker),
  );
  const poisoned = new Set(
    stored.filter((log) => poisonedMarkers.has(log.resource_id)).map(({ id }) => id),
  );
  const leftOver = await checkLeftOver(world, poisoned, settled.failedExports);
  const checks: Check[] = [
    { name: "everything comes to rest", checked: 1, broken: settled.unsettled },
    {
      name: "every answer was one that the contract knows, and true",
      checked: sum(ledger.requests),
      broken: ledger.broken,
    },
    ...checkStored(ledger, stored),
    ...(await checkIndexed(world, stored, poisoned, followers)),
    ...(await checkExports(world, clients, asked, stored, poisoned, runDir)),
    checkMarks(ledger.marks, await readLateWrites(world.database)),
    ...leftOver,
    { name: "no log line holds what a client sent", ...workerLog.leaks() },
  ];
  return {
    seed,
    seconds,
    settledMs: settled.tookMs,
    logs: { acknowledged: ledger.acknowledged.length, stored: stored.length },
    requests: ledger.requests,
    faults: faultsOf(world),
    kills,
    retries: workerLog.retries,
    checks,
  };
}

/** Lets the plan happen. Returns how often workerd was killed. */
async function play(
  plan: readonly FaultEvent[],
  world: World,
  cluster: Cluster,
  lengthMs: number,
): Promise<number> {
  const began = Date.now();
  let kills = 0;
  for (const event of plan) {
    if (event.atMs > lengthMs) break;
    await sleep(began + event.atMs - Date.now());
    if (event.what === "rules") world.proxies[event.backend].rules = event.rules;
    else if (event.what === "refuse") await world.proxies[event.backend].refuse();
    else if (event.what === "accept") await world.proxies[event.backend].accept();
    else if (event.what === "restart") await cluster.restart();
    else if (event.what === "crons") {
      await passTime(world.database, 60);
      cluster.fireCrons().catch(() => {});
    } else {
      kills++;
      await cluster.kill();
    }
  }
  await sleep(began + lengthMs - Date.now());
  return kills;
}

function faultsOf({ proxies }: World): Map<string, number> {
  return new Map(
    Object.entries(proxies).flatMap(([backend, { counts }]) =>
      [...counts].map(([kind, count]): [string, number] => [`${backend} ${kind}`, count]),
    ),
  );
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0);
}
