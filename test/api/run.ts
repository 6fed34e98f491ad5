import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { stopAllChildren } from "../../local/child.ts";
import { startBackends } from "../../local/stack.ts";
import { pythonTools } from "../tools/python-tools.ts";
import { runPropertyTests } from "./property-tests.ts";
import { startApi } from "./start-api.ts";

const usage = `npm run test:api -- [--cases N] [--seed S]

Sends the API requests of every form that its OpenAPI document allows, and many that it does not, and holds
every answer against the document. The whole service runs for it on loopback, in a temporary folder.

--cases  requests that are wanted at least (10000)
--seed   decides what is sent (1)`;

const timeoutMs = 60 * 60_000;
/** Of one example an operation come at least as many requests: also of its bounds, and of what follows from it. */
const casesOfExample = 30;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      cases: { type: "string", default: "10000" },
      seed: { type: "string", default: "1" },
      help: { type: "boolean", default: false },
    },
  });
  const [cases, seed] = [Number(values.cases), Number(values.seed)];
  if (values.help || !Number.isInteger(cases) || !Number.isInteger(seed) || cases < 1) {
    console.log(usage);
    return values.help ? 0 : 2;
  }
  const tools = await pythonTools();
  if ("missing" in tools) throw new Error(tools.missing);
  const dir = await mkdtemp(join(tmpdir(), "audit-log-api-"));
  const backends = await startBackends({
    dataDir: join(dir, "data"),
    persistent: false,
    fast: true,
    // Not this process's environment: such requests must not reach a database that someone uses.
    environment: {},
    onProgress: (text) => console.log(text),
  });
  try {
    if (backends.searchNote !== undefined) throw new Error(backends.searchNote);
    const api = await startApi(backends.env, join(dir, "workers"));
    const examples = Math.ceil(cases / casesOfExample);
    const onOutput = (line: string) => console.log(line);
    const report = await runPropertyTests({ tools, api, seed, examples, timeoutMs, onOutput });
    await api.stop();
    const { failures } = report;
    console.log(
      `\n${report.cases} cases over ${report.operations} operations, ${failures.length} callers with failures`,
    );
    return failures.length === 0 && report.cases >= cases ? 0 : 1;
  } finally {
    await backends.stop();
    await stopAllChildren();
    await rm(dir, { recursive: true, force: true });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
process.exit();
