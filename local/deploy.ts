import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { variablesOf } from "../platform/config.ts";
import { workerSections } from "../platform/worker-sections.ts";
import { configProblems, type OperatorOptions, readOperatorEnv } from "./operator-env.ts";
import { findConfigs, readConfig } from "./workers.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

const usage = "Usage: npm run deploy -- [--variables FILE] [--dry-run]";

/**
 * Deploys every Worker, the consumers first, since the API binds to their Durable Objects. Those of the
 * variables that it needs go with each as its secrets. Returns the exit code.
 */
export async function deployCommand(
  args: string[],
  environment: NodeJS.ProcessEnv,
): Promise<number> {
  try {
    const options = readOperatorEnv(args, environment);
    const problems = configProblems(options);
    if (problems.length > 0) {
      console.error(
        `The configuration is not whole, nothing was deployed:\n${problems.map((one) => `- ${one}`).join("\n")}`,
      );
      return 1;
    }
    return await deployAll(options);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
    return 2;
  }
}

async function deployAll(options: OperatorOptions): Promise<number> {
  const order = deployOrder(findConfigs(root));
  const dir = mkdtempSync(join(tmpdir(), "audit-log-deploy-"));
  try {
    for (const [n, config] of order.entries()) {
      const name = relative(root, config);
      const secrets = join(dir, `secrets-${n}.json`);
      const own = secretsOf(readConfig(readFileSync(config, "utf8")).name, options.env);
      writeFileSync(secrets, JSON.stringify(own), { mode: 0o600 });
      console.log(`${n + 1} of ${order.length}: ${name}`);
      const how = options.dryRun
        ? ["--dry-run", "--outdir", join(dir, String(n))]
        : ["--secrets-file", secrets];
      if ((await wrangler(["deploy", "-c", config, ...how], options.wrangler)) !== 0) {
        console.error(
          `${name} was not deployed, nor what comes after it. Run the same command again once that is mended.`,
        );
        return 1;
      }
    }
    return 0;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * The variables that a Worker is deployed with, by its name: those that it needs, and no others.
 *
 * @throws where nothing says what it needs
 */
export function secretsOf(
  worker: string,
  variables: Readonly<Record<string, string>>,
): Record<string, string> {
  const [, sections] = Object.entries(workerSections).find(([name]) => name === worker) ?? [];
  if (!sections) throw new Error(`platform/worker-sections.ts does not say what ${worker} needs.`);
  const needed = variablesOf(sections);
  return Object.fromEntries(Object.entries(variables).filter(([name]) => needed.includes(name)));
}

/** The API last; of the consumers the indexer first, then by name: maintenance binds to it and to the exporter. */
export function deployOrder([api = "", ...consumers]: string[]): string[] {
  const isIndexer = (file: string) => file.includes("/indexer/");
  return [...consumers.filter(isIndexer), ...consumers.filter((file) => !isIndexer(file)), api];
}

async function wrangler(args: string[], variables: Record<string, string>): Promise<number> {
  const program = join(
    dirname(createRequire(import.meta.url).resolve("wrangler/package.json")),
    "bin",
    "wrangler.js",
  );
  const env = { ...process.env, WRANGLER_SEND_METRICS: "false", ...variables };
  const child = spawn(process.execPath, [program, ...args], { stdio: "inherit", env });
  const [code] = await once(child, "exit");
  return typeof code === "number" ? code : 1;
}

if (import.meta.main) {
  process.exitCode = await deployCommand(process.argv.slice(2), process.env);
}
