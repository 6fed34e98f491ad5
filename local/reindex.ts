import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { z } from "zod";
import { type Client, createClient, DemoError } from "./demo-client.ts";
import { readStack } from "./dev-state.ts";
import { localToken } from "./token.ts";

const USAGE = `npm run reindex -- [--month 2026.11] [--cancel] [--status] [--url https://…] [--token …]

Builds a new search index from Postgres beside the old one, month by month, and swaps them: after a change
of the mapping, or after OpenSearch has lost data. The service does the work, in slices of a minute; this
starts it, or finds it under way, and shows how far it is. It may be stopped and run again at any time.

  --month   that month only; else every month that has begun
  --cancel  gives the month up, before it is swapped: the old index stays
  --status  only shows how far each month is
  --url     of the API; the local stack's, where none is given
  --token   of a platform admin; the local stack's, where none is given`;

const POLL_MS = 2_000;

const month = z.object({
  month: z.string(),
  state: z.string(),
  target_index: z.string().nullable(),
  logs_copied: z.number(),
  logs_total: z.number().nullable(),
  progress: z.number().nullable(),
  error: z.string().nullable(),
});
const answer = z.object({ data: z.array(month) });
type Month = z.infer<typeof month>;

const endStates = new Set(["DONE", "CANCELLED", "FAILED"]);

function readOptions(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      month: { type: "string" },
      cancel: { type: "boolean", default: false },
      status: { type: "boolean", default: false },
      url: { type: "string" },
      token: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.month !== undefined && !/^\d{4}\.(0[1-9]|1[0-2])$/.test(values.month))
    throw new TypeError("--month is a month, as 2026.11");
  if (values.cancel && values.month === undefined) throw new TypeError("--cancel needs --month");
  if (values.url !== undefined && !URL.canParse(values.url))
    throw new TypeError("--url is not a URL");
  if ((values.url === undefined) !== (values.token === undefined))
    throw new TypeError("--url and --token go together");
  return values;
}

async function connect(url: string | undefined, token: string | undefined): Promise<Client> {
  if (url !== undefined && token !== undefined) return createClient(url, token);
  const stack = readStack();
  if (!stack) throw new DemoError("No local stack runs here. Start it, or give --url and --token.");
  const roles = ["platform_admin"];
  return createClient(
    stack.url,
    await localToken({ tenant: "platform", roles, sub: "npm run reindex", hours: 12 }),
  );
}

/** One line of a month: what changes is worth another one. */
function lineOf(one: Month): string {
  const total = one.logs_total === null ? "" : ` of ${one.logs_total}`;
  const percent = one.progress === null ? "" : ` (${Math.floor(one.progress * 100)} %)`;
  const copied = one.state === "PENDING" ? "" : `  ${one.logs_copied}${total} logs${percent}`;
  const index = one.target_index === null ? "" : `  ${one.target_index}`;
  const error = one.error === null ? "" : `  ${one.error}`;
  return `${one.month}  ${one.state.padEnd(10)}${index}${copied}${error}`;
}

/** Shows every change until all months are over. Returns the exit code: 0 where all went well. */
async function watch(client: Client, names: ReadonlySet<string>, wanted: string): Promise<number> {
  const shown = new Map<string, string>();
  for (;;) {
    const { data } = (await client.request("/operations/reindex", answer)).data;
    const months = data.filter((one) => names.has(one.month));
    for (const one of months) {
      const line = lineOf(one);
      if (shown.get(one.month) !== line) console.log(line);
      shown.set(one.month, line);
    }
    if (months.every((one) => endStates.has(one.state)))
      return months.every((one) => one.state === wanted) ? 0 : 1;
    await sleep(POLL_MS);
  }
}

/** `npm run reindex` with these arguments. Returns the exit code: 0 done, 1 not, 2 wrongly asked. */
export async function reindexCommand(args: string[]): Promise<number> {
  let options: ReturnType<typeof readOptions>;
  try {
    options = readOptions(args);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return 2;
  }
  if (options.help) {
    console.log(USAGE);
    return 0;
  }
  try {
    const client = await connect(options.url, options.token);
    const path = "/operations/reindex";
    if (options.status) {
      const { data } = (await client.request(path, answer)).data;
      for (const one of data) console.log(lineOf(one));
      if (data.length === 0) console.log("No month was ever reindexed.");
      return 0;
    }
    if (options.cancel) {
      await client.request(`${path}/${options.month}`, answer, { method: "DELETE" });
      return await watch(client, new Set([options.month ?? ""]), "CANCELLED");
    }
    const body = options.month === undefined ? {} : { month: options.month };
    const { data } = (await client.request(path, answer, { method: "POST", body })).data;
    const asked = data.filter((one) =>
      options.month === undefined ? !endStates.has(one.state) : one.month === options.month,
    );
    return await watch(client, new Set(asked.map((one) => one.month)), "DONE");
  } catch (error) {
    if (!(error instanceof DemoError)) throw error;
    console.error(error.message);
    return 1;
  }
}

if (import.meta.main) process.exitCode = await reindexCommand(process.argv.slice(2));
