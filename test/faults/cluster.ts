import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { freePort } from "../../local/ports.ts";
import { type BundledWorker, bundleWorker } from "../../local/workerd/bundle-worker.ts";
import { startWorkerd, type Workerd } from "../../local/workerd/start-workerd.ts";
import type { WorkerService } from "../../local/workerd/workerd-config.ts";

const configFiles = [
  "wrangler.toml",
  "consumers/indexer/wrangler.toml",
  "consumers/exporter/wrangler.toml",
  "consumers/maintenance/wrangler.toml",
];

export type ClusterOptions = {
  /** A folder of the caller's: bundles, configuration, and what the Durable Objects store. */
  dir: string;
  /** Every variable of the Workers, as `startBackends` gives them; endpoints may be those of fault proxies. */
  env: Readonly<Record<string, string>>;
  /** Is told every line that a Worker logs. */
  onOutput?: (line: string) => void;
};

/** All Workers in one `workerd`, from the bundles that would be deployed. */
export type Cluster = {
  /** Where the API answers. It stays the same over kills and restarts. */
  url: string;
  /** SIGKILL, in the middle of whatever is under way. Resolves when the process is gone. */
  kill(): Promise<void>;
  /** Starts it again: Durable Objects find on disk what they had stored, alarms that were due go off. */
  restart(): Promise<void>;
  isRunning(): boolean;
  /**
   * Calls the `scheduled` handler of every Worker that has crons, once, as their minute would.
   * @throws when a handler does, or workerd is not there
   */
  fireCrons(): Promise<void>;
  stop(): Promise<void>;
};

/**
 * Bundles the Workers, which takes some seconds. The result may be served more than once, with other
 * variables each time.
 */
export async function bundleCluster(dir: string): Promise<BundledWorker[]> {
  await mkdir(dir, { recursive: true });
  // One after the other: each takes a core of its own.
  const workers: BundledWorker[] = [];
  for (const file of configFiles) workers.push(await bundleWorker(file, dir, {}));
  return workers;
}

/**
 * Starts the Workers. One workerd has them all, so that their bindings to each other's Durable Objects
 * work as they do when deployed.
 *
 * @param bundled what bundleCluster gave for the same `dir`; without it they are bundled here
 */
export async function startCluster(
  options: ClusterOptions,
  bundled?: readonly BundledWorker[],
): Promise<Cluster> {
  const { dir, env, onOutput = () => {} } = options;
  const workers = bundled ?? (await bundleCluster(dir));
  const [api] = workers;
  if (!api) throw new Error("There is no Worker to serve.");
  const trigger = await cronTrigger(dir, api, workers);
  // Durable Objects are kept by a folder for each start of a cluster, and found again by its restarts.
  const ports = { api: await freePort(), crons: await freePort() };
  const objectsDir = join(dir, `objects-${ports.api}`);
  await mkdir(objectsDir);
  const serve = (): Promise<Workerd> =>
    startWorkerd({
      dir,
      name: `cluster-${ports.api}`,
      experimental: true,
      onOutput,
      config: {
        workers: [
          ...workers.map((worker) => ({ ...worker, variables: { ...worker.variables, ...env } })),
          trigger,
        ],
        sockets: [
          { name: "api", service: api.name, port: ports.api },
          { name: "crons", service: trigger.name, port: ports.crons },
        ],
        objectsDir,
      },
    });

  let running: Workerd | undefined = await serve();
  return {
    url: `http://127.0.0.1:${ports.api}`,
    isRunning: () => running !== undefined,
    async kill() {
      const killed = running;
      running = undefined;
      await killed?.kill();
    },
    async restart() {
      running ??= await serve();
    },
    async fireCrons() {
      const response = await fetch(`http://127.0.0.1:${ports.crons}/`, {
        method: "POST",
        signal: AbortSignal.timeout(cronTimeoutMs),
      });
      const outcomes = cronOutcomes.parse(await response.json());
      const failed = outcomes.filter(({ outcome }) => outcome !== "ok");
      if (failed.length > 0) throw new Error(`crons failed: ${JSON.stringify(failed)}`);
    },
    async stop() {
      await running?.stop();
      running = undefined;
    },
  };
}

const cronTimeoutMs = 60_000;
const cronOutcomes = z.array(z.object({ worker: z.string(), outcome: z.string() }));

/**
 * A Worker that calls the `scheduled` handlers of the others: workerd has no clock for crons. The call
 * is behind a flag and `--experimental`, as in miniflare.
 */
async function cronTrigger(
  dir: string,
  api: BundledWorker,
  workers: readonly BundledWorker[],
): Promise<WorkerService> {
  const scheduled = workers.filter((worker) => worker.crons.length > 0);
  const targets = scheduled.map(({ name, crons }) => ({ name, cron: crons[0] }));
  const script = `const targets = ${JSON.stringify(targets)};
export default {
  async fetch(_request, env) {
    const fired = targets.map(async ({ name, cron }) => {
      const { outcome } = await env[name].scheduled({ cron, scheduledTime: new Date() });
      return { worker: name, outcome };
    });
    return Response.json(await Promise.all(fired));
  },
};
`;
  await writeFile(join(dir, "cron-trigger.js"), script);
  return {
    name: "cron-trigger",
    module: "cron-trigger.js",
    compatibilityDate: api.compatibilityDate,
    compatibilityFlags: [...api.compatibilityFlags, "service_binding_extra_handlers"],
    variables: {},
    classes: [],
    objects: [],
    services: scheduled.map(({ name }) => ({ binding: name, service: name })),
  };
}
