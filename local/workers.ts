import { globSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { startChild, type Running } from "./child.ts";
import { freePort } from "./ports.ts";

export type WorkersOptions = {
  /** The repository. */
  root: string;
  port: number;
  /** What the Workers keep of their own, and wrangler's log. */
  dataDir: string;
  env: Record<string, string>;
  onLine?: ((line: string) => void) | undefined;
};

export type Workers = Running & {
  url: string;
  /** The Workers with crons. */
  scheduled: string[];
  stop(): Promise<void>;
};

/** The public Worker's configuration first: it is the one that gets the requests. */
export function findConfigs(root: string): string[] {
  const consumers = globSync("consumers/*/wrangler.toml", { cwd: root }).toSorted();
  return ["wrangler.toml", ...consumers].map((file) => join(root, file));
}

/** A Worker's name, and whether it has crons; enough of TOML for that. */
export function readConfig(text: string): { name: string; hasCrons: boolean } {
  const name = /^name\s*=\s*"([^"]+)"/m.exec(text)?.[1];
  if (!name) throw new Error("The configuration has no name.");
  return { name, hasCrons: /^crons\s*=\s*\[\s*["']/m.test(text) };
}

/**
 * Where a .dev.vars lies beside a configuration, wrangler reads that instead of what this stack
 * sets, and the Workers would talk to something else.
 */
function refuseDevVars(root: string, configs: string[]): void {
  const found = configs.flatMap((config) => {
    const folder = dirname(config);
    return globSync(".dev.vars", { cwd: folder }).map((file) => relative(root, join(folder, file)));
  });
  if (found.length === 0) return;
  throw new Error(
    `Move away ${found.join(", ")}: wrangler would use it instead of the local stack's settings. Set variables in the environment of npm run dev.`,
  );
}

function environment(options: WorkersOptions): NodeJS.ProcessEnv {
  const inherited = Object.fromEntries(
    ["PATH", "HOME", "TMPDIR", "LANG"].flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
  return {
    ...inherited,
    // --var and --env-file reach the first Worker only, this reaches all; so nothing else of the
    // caller's environment is handed on.
    CLOUDFLARE_INCLUDE_PROCESS_ENV: "true",
    ...options.env,
    // Two stacks on one machine must not find each other's Workers.
    WRANGLER_REGISTRY_PATH: join(options.dataDir, "workers", "registry"),
    WRANGLER_WRITE_LOGS: "false",
    WRANGLER_SEND_METRICS: "false",
    WRANGLER_SEND_ERROR_REPORTS: "false",
    WRANGLER_HIDE_BANNER: "true",
    CLOUDFLARE_CF_FETCH_ENABLED: "false",
    X_LOCAL_OBSERVABILITY: "false",
    NO_COLOR: "1",
    CI: "1",
  };
}

/** All Workers in one `wrangler dev`, with the same variables. */
export async function startWorkers(options: WorkersOptions): Promise<Workers> {
  const configs = findConfigs(options.root);
  refuseDevVars(options.root, configs);
  const known = configs.map((file) => readConfig(readFileSync(file, "utf8")));
  const wrangler = createRequire(import.meta.url).resolve("wrangler/package.json");
  const child = await startChild(
    process.execPath,
    [
      join(dirname(wrangler), "bin", "wrangler.js"),
      "dev",
      ...configs.flatMap((file) => ["-c", file]),
      "--ip=127.0.0.1",
      `--port=${options.port}`,
      `--inspector-port=${await freePort()}`,
      `--persist-to=${join(options.dataDir, "workers")}`,
      "--show-interactive-dev-session=false",
    ],
    {
      cwd: options.root,
      env: environment(options),
      logFile: join(options.dataDir, "logs", "wrangler.log"),
      graceMs: 3000,
      onLine: options.onLine,
    },
  );
  return {
    url: `http://127.0.0.1:${options.port}`,
    scheduled: known.filter((worker) => worker.hasCrons).map((worker) => worker.name),
    exited: child.exited,
    tail: child.tail,
    stop: child.stop,
  };
}
