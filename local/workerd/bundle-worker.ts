import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { unstable_readConfig } from "wrangler";
import { z } from "zod";
import { startChild } from "../child.ts";
import type { WorkerService } from "./workerd-config.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const wrangler = join(root, "node_modules/wrangler/bin/wrangler.js");

/** What of a wrangler.toml says how the Worker runs. */
const wranglerConfig = z.object({
  name: z.string(),
  main: z.string(),
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()),
  vars: z.record(z.string(), z.unknown()),
  durable_objects: z.object({
    bindings: z.array(
      z.object({ name: z.string(), class_name: z.string(), script_name: z.string().optional() }),
    ),
  }),
  migrations: z.array(z.object({ new_sqlite_classes: z.array(z.string()).optional() })),
  triggers: z.object({ crons: z.array(z.string()).optional() }),
});

/** A Worker as it would be deployed: how it is served, and when its `scheduled` handler is to be called. */
export type BundledWorker = WorkerService & { crons: readonly string[] };

/**
 * Builds the bundle that `wrangler deploy` would upload, and reads from the same file how it is to be
 * served: nothing of that is said a second time here.
 *
 * @param configFile a wrangler.toml, relative to the repository
 * @param dir where the configuration of workerd will be; the bundle gets a folder in it
 * @param environment the Worker's variables and secrets
 */
export async function bundleWorker(
  configFile: string,
  dir: string,
  environment: Readonly<Record<string, string>>,
): Promise<BundledWorker> {
  const config = wranglerConfig.parse(unstable_readConfig({ config: join(root, configFile) }));
  const { name } = config;
  const outDir = join(dir, name);
  await mkdir(outDir);
  const build = await startChild(
    process.execPath,
    [wrangler, "deploy", "--dry-run", "--config", configFile, "--outdir", outDir],
    { cwd: root, env: { ...process.env, WRANGLER_SEND_METRICS: "false" } },
  );
  const end = await build.exited;
  if (end !== "exit code 0") {
    throw new Error(`${configFile} could not be bundled (${end}):\n${build.tail()}`);
  }
  return {
    name,
    module: `${name}/${basename(config.main).replace(/\.ts$/, ".js")}`,
    compatibilityDate: config.compatibility_date,
    compatibilityFlags: config.compatibility_flags,
    variables: { ...textVariables(config.vars), ...environment },
    classes: config.migrations.flatMap((migration) => migration.new_sqlite_classes ?? []),
    objects: config.durable_objects.bindings.map((binding) => ({
      binding: binding.name,
      className: binding.class_name,
      service: binding.script_name ?? name,
    })),
    crons: config.triggers.crons ?? [],
  };
}

const rateLimits = z.object({
  ratelimits: z.array(
    z.object({
      name: z.string(),
      namespace_id: z.string(),
      simple: z.object({ limit: z.int(), period: z.union([z.literal(10), z.literal(60)]) }),
    }),
  ),
});

/** The rate limits that a Worker is deployed with, from its wrangler.toml, relative to the repository. */
export function readRateLimits(configFile: string) {
  return rateLimits.parse(unstable_readConfig({ config: join(root, configFile) })).ratelimits;
}

function textVariables(vars: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(vars).map(([name, value]) => [
      name,
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
  );
}
