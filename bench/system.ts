import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startBackends } from "../local/stack.ts";
import { bundleWorker, readRateLimits } from "../local/workerd/bundle-worker.ts";
import { startWorkerd, type Workerd } from "../local/workerd/start-workerd.ts";
import type { WorkerService } from "../local/workerd/workerd-config.ts";
import { firstPoller } from "../platform/poller-names.ts";
import { startCountingBucket } from "./counting-bucket.ts";
import { wakeRelay, wakeTarget } from "./wake-relay.ts";

export type System = {
  /** Loopback ports of the API and of the Workers that only answer, 204 and 429: one process, so one yardstick. */
  apiPort: number;
  noContentPort: number;
  refusingPort: number;
  /** The same API with the rate limits that it is deployed with: the other one has none. */
  limitedPort: number;
  api: Served;
  indexer: Served;
  /** Its inspector is open always: it tells what the isolate holds. */
  exporter: Served;
  databaseUrl: string;
  jwtSecret: string;
  hasOpenSearch: boolean;
  /** What the Workers logged: warnings and errors only. */
  warnings: string[];
  /** Says which part ended by itself. */
  broken: Promise<string>;
};

/** A Worker in its process. */
export type Served = { pid: number; service: string; inspectorPort: number | undefined };

/** What ends the parts that were started, in the order of their start. */
export type Stops = (() => Promise<unknown>)[];

/**
 * Starts everything on loopback, with empty data in a temporary folder.
 *
 * @param stops gets what ends each part, also where this throws half-way; to be run last first
 * @param inspect opens the inspectors, for profiles
 */
export async function startSystem(
  stops: Stops,
  inspect: boolean,
  onProgress: (text: string) => void,
): Promise<System> {
  const dir = await mkdtemp(join(tmpdir(), "audit-log-bench-"));
  stops.push(() => rm(dir, { recursive: true, force: true }));
  const bucket = await startCountingBucket();
  stops.push(() => bucket.stop());
  const backends = await startBackends({
    dataDir: join(dir, "data"),
    persistent: false,
    // Not this process's environment: a benchmark must not write into a database that someone uses.
    environment: { AWS_ENDPOINT_URL: bucket.url },
    onProgress,
  });
  stops.push(() => backends.stop());
  const { env } = backends;
  const warnings: string[] = [];
  const workersDir = join(dir, "workers");
  const objectsDir = join(workersDir, "objects");
  await mkdir(objectsDir, { recursive: true });
  const variables = { ...env, LOG_LEVEL: "WARNING" };
  const [api, indexer, exporter] = await Promise.all([
    bundleWorker("wrangler.toml", workersDir, variables),
    bundleWorker("consumers/indexer/wrangler.toml", workersDir, variables),
    bundleWorker("consumers/exporter/wrangler.toml", workersDir, variables),
  ]);
  onProgress("bundled");

  const onOutput = (line: string): void => {
    // One of the two APIs has no limits, which is meant.
    if (!line.includes('"rate_limits_missing"')) warnings.push(line);
  };
  const common = { dir: workersDir, inspect, onOutput };
  const startConsumer = async (name: string, worker: WorkerService, isWatched = inspect) => {
    const config = await consumerSide(worker, workersDir);
    const started = await startWorkerd({ ...common, name, config, inspect: isWatched });
    stops.push(() => started.stop());
    return started;
  };
  const behind = await startConsumer("indexer", indexer);
  const beside = await startConsumer("exporter", exporter, true);
  const wakeUrls = new Map([
    [indexer.name, wakeUrl(behind)],
    [exporter.name, wakeUrl(beside)],
  ]);
  const apiConfig = await apiSide(api, wakeUrls, workersDir);
  const front = await startWorkerd({ ...common, name: "api", config: apiConfig });
  stops.push(() => front.stop());
  const {
    api: apiPort = 0,
    "no-content": noContentPort = 0,
    "refuse-all": refusingPort = 0,
    limited: limitedPort = 0,
  } = front.ports;
  return {
    apiPort,
    noContentPort,
    refusingPort,
    limitedPort,
    api: { pid: front.pid, service: api.name, inspectorPort: front.ports["inspector"] },
    indexer: { pid: behind.pid, service: indexer.name, inspectorPort: behind.ports["inspector"] },
    exporter: {
      pid: beside.pid,
      service: exporter.name,
      inspectorPort: beside.ports["inspector"],
    },
    databaseUrl: env["DATABASE_URL"] ?? "",
    jwtSecret: env["JWT_SECRET"] ?? "",
    hasOpenSearch: env["OPENSEARCH_HOST"] !== undefined,
    warnings,
    broken: Promise.race([
      backends.broken,
      front.exited.then((how) => `The API's workerd ended by itself (${how}):\n${front.tail()}`),
      behind.exited.then(
        (how) => `The indexer's workerd ended by itself (${how}):\n${behind.tail()}`,
      ),
      beside.exited.then(
        (how) => `The exporter's workerd ended by itself (${how}):\n${beside.tail()}`,
      ),
    ]),
  };
}

function wakeUrl({ ports }: Workerd): string {
  return `http://127.0.0.1:${ports["wake"]}/`;
}

async function consumerSide(consumer: WorkerService, dir: string) {
  await writeFile(join(dir, "wake-target.js"), wakeTarget(firstPoller));
  const [className = ""] = consumer.classes;
  const target: WorkerService = {
    ...plainWorker(consumer, "wake-target"),
    objects: [{ binding: "POLLER", className, service: consumer.name }],
  };
  return {
    workers: [consumer, target],
    sockets: [{ name: "wake", service: target.name }],
    objectsDir: join(dir, "objects"),
  };
}

const onlyAnswering = ["no-content", "refuse-all"];

async function apiSide(api: WorkerService, wakeUrls: ReadonlyMap<string, string>, dir: string) {
  for (const name of onlyAnswering) {
    await copyFile(fileURLToPath(new URL(`${name}.ts`, import.meta.url)), join(dir, `${name}.js`));
  }
  // Its Durable Objects are the other one's.
  const limited: WorkerService = {
    ...api,
    name: `${api.name}-limited`,
    classes: [],
    rateLimits: readRateLimits("wrangler.toml"),
  };
  const elsewhere = api.objects.filter((object) => object.service !== api.name);
  const relays = [...Map.groupBy(elsewhere, (object) => object.service)].map(
    async ([service, objects]): Promise<WorkerService> => {
      const classes = objects.map((object) => object.className);
      await writeFile(join(dir, `${service}-relay.js`), wakeRelay(classes));
      const relay = plainWorker(api, `${service}-relay`);
      const variables = { WAKE_URL: wakeUrls.get(service) ?? "" };
      return { ...relay, name: service, variables, classes };
    },
  );
  return {
    workers: [
      api,
      limited,
      ...onlyAnswering.map((name) => plainWorker(api, name)),
      ...(await Promise.all(relays)),
    ],
    sockets: [
      { name: "api", service: api.name },
      ...onlyAnswering.map((name) => ({ name, service: name })),
      { name: "limited", service: limited.name },
    ],
    objectsDir: join(dir, "objects"),
  };
}

/** A Worker of this benchmark, of the same compatibility as a real one. */
function plainWorker({ compatibilityDate, compatibilityFlags }: WorkerService, name: string) {
  return {
    name,
    module: `${name}.js`,
    compatibilityDate,
    compatibilityFlags,
    variables: {},
    classes: [],
    objects: [],
  };
}
