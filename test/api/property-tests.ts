import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { startChild } from "../../local/child.ts";
import type { PythonTools } from "../tools/python-tools.ts";
import type { Api } from "./start-api.ts";

const config = fileURLToPath(new URL("schemathesis.toml", import.meta.url));
const hooks = fileURLToPath(new URL("hooks.py", import.meta.url));

export type PropertyTestOptions = {
  tools: PythonTools;
  api: Api;
  /** Decides every value that is sent, but for keys and ids that the service makes. */
  seed: number;
  /** Values that are made for each operation at random, beside those that its schema's bounds give. */
  examples: number;
  /** After this it is ended, and counts as failed. */
  timeoutMs: number;
  onOutput?: (line: string) => void;
};

export type PropertyReport = { cases: number; operations: number; failures: string[] };

const report = z.object({
  complete: z.boolean(),
  exit_code: z.int(),
  operations: z.object({ total: z.int(), tested: z.int() }),
  test_cases: z.object({ generated: z.int() }),
  failures: z.array(z.looseObject({ title: z.string(), operations: z.array(z.string()) })),
  errors: z.array(z.unknown()),
});

/** Who asks for which operations: together they are all of the document's. */
const callers = [
  {
    name: "admin",
    claims: { tenant_id: "acme", role: "admin", sub: "alice" },
    tags: ["Logs", "Exports", "API keys"],
  },
  {
    name: "platform admin",
    claims: { role: "platform_admin", sub: "root" },
    tags: ["Tenants", "Operations"],
  },
] as const;

/**
 * Sends the API requests of every form that its OpenAPI document allows, and many that it does not, and holds
 * the answers against the document. Schemathesis does it, from the document that the API itself serves.
 */
export async function runPropertyTests(options: PropertyTestOptions): Promise<PropertyReport> {
  const dir = await mkdtemp(join(tmpdir(), "audit-log-property-tests-"));
  const sum: PropertyReport = { cases: 0, operations: 0, failures: [] };
  try {
    for (const [n, { name, claims, tags }] of callers.entries()) {
      const file = join(dir, `${n}.json`);
      const token = await options.api.token(claims);
      const output = await runSchemathesis(options, token, tags, file);
      const told = report.parse(JSON.parse(await readFile(file, "utf8")));
      sum.cases += told.test_cases.generated;
      sum.operations += told.operations.tested;
      if (!told.complete || told.exit_code !== 0 || told.failures.length > 0)
        sum.failures.push(`as ${name}:\n${output}`);
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
  return sum;
}

async function runSchemathesis(
  { tools, api, seed, examples, timeoutMs, onOutput = () => {} }: PropertyTestOptions,
  token: string,
  tags: readonly string[],
  reportFile: string,
): Promise<string> {
  const lines: string[] = [];
  const child = await startChild(
    tools.python,
    [
      "-m",
      "schemathesis.cli",
      "--no-color",
      `--config-file=${config}`,
      "run",
      `${api.url}/api/v1/openapi.json`,
      ...tags.map((tag) => `--include-tag=${tag}`),
      `--seed=${seed}`,
      `--max-examples=${examples}`,
      "--report=json",
      `--report-json-path=${reportFile}`,
    ],
    {
      // What the tool keeps in a folder of its own would make one run depend on another.
      cwd: dirname(reportFile),
      env: {
        ...process.env,
        API_TOKEN: token,
        API_HOOKS: hooks,
        PYTHONHASHSEED: "0",
        PYTHONDONTWRITEBYTECODE: "1",
      },
      onLine: (line) => {
        lines.push(line);
        onOutput(line);
      },
    },
  );
  const timer = setTimeout(() => void child.stop(), timeoutMs);
  const end = await child.exited;
  clearTimeout(timer);
  // 1: some case failed. The report says which.
  if (!/^exit code [01]$/.test(end))
    throw new Error(`Schemathesis did not come to its end (${end}):\n${child.tail()}`);
  return lines.join("\n");
}
