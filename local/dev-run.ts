import { setTimeout as sleep } from "node:timers/promises";
import { relative } from "node:path";
import { stopAllChildren } from "./child.ts";
import { startCron } from "./cron.ts";
import { CannotStart, checkDisk, checkNode, checkPort, removeData } from "./dev-checks.ts";
import { createOutputFilter } from "./dev-output.ts";
import { takeLock, writeStack } from "./dev-state.ts";
import { startBackends } from "./stack.ts";
import { localToken } from "./token.ts";
import { startWorkers, type Workers } from "./workers.ts";

const READY_TIMEOUT_MS = 120_000;

export type DevOptions = {
  /** The repository. */
  root: string;
  stateDir: string;
  port: number;
  fresh: boolean;
  verbose: boolean;
};

/**
 * The local stack, from start to end.
 *
 * @param stop settles when it is to end.
 * @returns why it ended, where that was not asked for.
 * @throws CannotStart, or what a part said when it did not start; nothing runs then.
 */
export async function runDev(
  options: DevOptions,
  stop: Promise<void>,
): Promise<string | undefined> {
  const url = `http://127.0.0.1:${options.port}`;
  checkNode();
  const lock = takeLock(url, options.stateDir);
  if ("takenBy" in lock) {
    const { pid, url: otherUrl } = lock.takenBy;
    throw new CannotStart(
      `npm run dev runs in this folder already: process ${pid}, ${otherUrl}. Use that one, or stop it with Ctrl-C in its terminal (or kill ${pid}).`,
    );
  }
  try {
    const stopped = stop.then(() => console.log("\nStopping …"));
    return (await Promise.race([run(options, url), stopped])) ?? undefined;
  } finally {
    await stopAllChildren();
    lock.release();
  }
}

function show(text: string): void {
  console.log(`  ${text}`);
}

/** Starts everything and stays until something ends by itself; says what. */
async function run(options: DevOptions, url: string): Promise<string> {
  const began = Date.now();
  const { root, stateDir, port } = options;
  await checkDisk(stateDir);
  await checkPort(port);
  if (options.fresh) removeData(stateDir);
  console.log(`Starting the local stack (data in ${relative(root, stateDir)}/)`);

  const backends = await startBackends({ dataDir: stateDir, persistent: true, onProgress: show });
  const startedAt = Date.now();
  const filter = createOutputFilter(options.verbose);
  const workers = await startWorkers({
    root,
    port,
    dataDir: stateDir,
    env: backends.env,
    onLine: (line) => {
      const shown = filter(line);
      if (shown !== undefined) console.log(shown);
    },
  });
  const broken = Promise.race([
    backends.broken,
    workers.exited.then((how) => `wrangler ended by itself (${how}):\n${workers.tail()}`),
  ]);
  const notReady = await Promise.race([untilReady(workers), broken]);
  if (notReady) return notReady;
  show(`Workers (${((Date.now() - startedAt) / 1000).toFixed(1)} s)`);

  const stopCron = startCron({
    url,
    workers: workers.scheduled,
    onFailure: (worker, reason) => console.log(`The cron of ${worker} failed: ${reason}`),
  });
  writeStack({ pid: process.pid, url, env: backends.env }, stateDir);
  await printReady(url, began, backends.searchNote);
  const end = await broken;
  stopCron();
  return end;
}

/** Says why not, when the API does not get ready. */
async function untilReady(workers: Workers): Promise<string | undefined> {
  const until = Date.now() + READY_TIMEOUT_MS;
  let last = "no answer";
  while (Date.now() < until) {
    try {
      const response = await fetch(new URL("/health", workers.url), {
        signal: AbortSignal.timeout(5000),
      });
      const text = await response.text();
      if (response.ok) return undefined;
      last = `${response.status} ${text.slice(0, 300)}`;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    await sleep(150);
  }
  return `The API did not get ready in ${READY_TIMEOUT_MS / 1000} s (${last}):\n${workers.tail()}`;
}

async function printReady(url: string, began: number, searchNote?: string): Promise<void> {
  const token = await localToken({ tenant: "acme", roles: ["admin"], sub: "alice", hours: 12 });
  const log = JSON.stringify({
    action: "document.create",
    resource_type: "document",
    resource_id: "doc-1",
    metadata: { title: "hello audit" },
  });
  console.log(`
Ready in ${((Date.now() - began) / 1000).toFixed(1)} s.
${searchNote ? `\nSearch comes from PostgreSQL, without OpenSearch. ${searchNote}\n` : ""}
  API    ${url}/api/v1
  Docs   ${url}/docs

Store a log and search it (tenant acme, role admin, 12 hours):

  export TOKEN=${token}
  curl -s ${url}/api/v1/logs -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '${log}'
  curl -s '${url}/api/v1/logs?search=hello' -H "Authorization: Bearer $TOKEN"

More tokens: npm run --silent token -- --tenant acme --role admin --sub alice
Real events: npm run demo, in another terminal
Logs: .local/logs/. Stop with Ctrl-C.
`);
}
