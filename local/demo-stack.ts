import { parseArgs } from "node:util";
import { DemoError, reasonOf } from "./demo-client.ts";
import { readStack } from "./dev-state.ts";
import { localToken } from "./token.ts";

const DEFAULT_URL = "http://127.0.0.1:8787";
// `npm run token` makes tokens for it too, so that the demo's logs can be read with one.
const TENANT = "acme";

export type DemoStack = {
  url: string;
  token: string;
  /** The running stack's settings; undefined where the API at `url` is not the one that `npm run dev` started here. */
  env: Readonly<Record<string, string>> | undefined;
};

const usage = `npm run demo -- [--url ${DEFAULT_URL}] [--token TOKEN]`;

/** The stack that the options name, else the one that runs here. @throws DemoError when it does not answer. */
export async function findStack(args: readonly string[], stateDir: string): Promise<DemoStack> {
  const options = readOptions(args);
  const running = readStack(stateDir);
  const url = options.url ?? running?.url ?? DEFAULT_URL;
  await checkHealth(url);
  const isOurs = running !== undefined && new URL(running.url).origin === new URL(url).origin;
  return {
    url,
    token:
      options.token ??
      (await localToken({ tenant: TENANT, roles: ["writer", "auditor"], sub: "demo", hours: 1 })),
    env: isOurs ? running.env : undefined,
  };
}

function readOptions(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { url: { type: "string" }, token: { type: "string" } },
    });
    if (values.url !== undefined && !/^https?:\/\//.test(values.url)) {
      throw new Error("--url needs an http:// or https:// address");
    }
    return values;
  } catch (error) {
    throw new DemoError(`${reasonOf(error)}\n${usage}`, { cause: error });
  }
}

async function checkHealth(url: string): Promise<void> {
  let status: number;
  try {
    const health = new URL("/api/v1/health", url);
    const response = await fetch(health, { signal: AbortSignal.timeout(5_000) });
    status = response.status;
    await response.body?.cancel();
  } catch (error) {
    throw new DemoError(
      `No stack answers at ${url} (${reasonOf(error)}): start it with npm run dev`,
      { cause: error },
    );
  }
  if (status === 503) throw new DemoError(`The stack at ${url} says that its database is down.`);
  if (status !== 200) {
    throw new DemoError(`What answers at ${url} is not this API: its health is HTTP ${status}.`);
  }
}
