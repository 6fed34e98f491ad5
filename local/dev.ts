import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { parsePort } from "./dev-checks.ts";
import { runDev } from "./dev-run.ts";
import { STATE_DIR } from "./dev-state.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const USAGE = `npm run dev -- [--port 8787] [--fresh] [--verbose]

  --port     where the API listens, on 127.0.0.1
  --fresh    starts with no data
  --verbose  shows every log line of the Workers`;

/** A second Ctrl-C within this time is npm's copy of the first. */
const REPEAT_MS = 500;

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    let first = 0;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => {
        if (first === 0) first = Date.now();
        else if (Date.now() - first > REPEAT_MS) process.exit(130);
        resolve();
      });
    }
  });
}

/** `npm run dev` with these arguments, until `stop` settles; the process's exit code. */
export async function devCommand(
  args: string[],
  stop: Promise<void>,
  folders = { root: ROOT, stateDir: STATE_DIR },
): Promise<number> {
  let port: number;
  let values: { port: string; fresh: boolean; verbose: boolean; help: boolean };
  try {
    ({ values } = parseArgs({
      args,
      options: {
        port: { type: "string", default: "8787" },
        fresh: { type: "boolean", default: false },
        verbose: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    }));
    port = parsePort(values.port);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return 2;
  }
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  try {
    const broken = await runDev(
      { ...folders, port, fresh: values.fresh, verbose: values.verbose },
      stop,
    );
    if (broken === undefined) return 0;
    console.error(`\n${broken}`);
  } catch (error) {
    const stack = values.verbose && error instanceof Error ? error.stack : undefined;
    console.error(`\n${stack ?? (error instanceof Error ? error.message : String(error))}`);
  }
  return 1;
}

if (import.meta.main) process.exit(await devCommand(process.argv.slice(2), untilSignal()));
