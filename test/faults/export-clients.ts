import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { Answer, ApiClient } from "./api-client.ts";
import type { Ledger } from "./ledger.ts";
import { pick, searchWords, userIds } from "./make-log.ts";

/** Filters whose meaning a check can tell without the service: all of them must hold. */
export type ExportFilters = {
  severity?: string;
  user_id?: string;
  resource_type?: string;
  search?: string;
};

export type AskedExport = {
  tenant: string;
  key: string;
  filters: ExportFilters;
  /** Undefined where no try was ever answered. */
  id: string | undefined;
  /** Logs that had been acknowledged before it was asked for: all that match must be in it. */
  before: ReadonlySet<string>;
  /** Its client has asked to cancel it, and may not have been heard. */
  isCancelAsked: boolean;
};

export type ExportClientOptions = {
  clients: readonly ApiClient[];
  ledger: Ledger;
  asked: AskedExport[];
  random: () => number;
  signal: AbortSignal;
};

const started = z.object({ data: z.object({ id: z.string() }) });
const maxTries = 5;
const pauseMs = { least: 500, most: 2_500 };
const cancelledShare = 0.12;

/** Asks for exports, repeats what got no answer under the same key, and cancels one now and then. */
export async function runExportClient(options: ExportClientOptions): Promise<void> {
  const { clients, ledger, asked, random, signal } = options;
  while (!signal.aborted) {
    await sleep(pauseMs.least + random() * (pauseMs.most - pauseMs.least));
    const client = pick(random, clients);
    const filters = makeFilters(random);
    const body = JSON.stringify({
      format: pick(random, ["csv", "jsonl"]),
      compression: pick(random, ["none", "none", "gzip"]),
      filters,
    });
    const own = ledger.acknowledged.filter(({ tenant }) => tenant === client.tenant);
    const one: AskedExport = {
      tenant: client.tenant,
      key: randomUUID(),
      filters,
      id: undefined,
      before: new Set(own.map(({ id }) => id)),
      isCancelAsked: false,
    };
    asked.push(one);
    const cancels = random() < cancelledShare;
    for (let tries = 0; tries < maxTries && one.id === undefined; tries++) {
      if (tries > 0) await sleep(100 * 2 ** tries);
      one.id = await start(client, ledger, one.key, body);
    }
    if (cancels && one.id !== undefined) {
      await sleep(random() * 1500);
      one.isCancelAsked = true;
      await cancel(client, ledger, one.id);
    }
  }
}

function makeFilters(random: () => number): ExportFilters {
  return pick<() => ExportFilters>(random, [
    () => ({}),
    () => ({}),
    () => ({ severity: pick(random, ["INFO", "ERROR"]) }),
    () => ({ user_id: pick(random, userIds), resource_type: "document" }),
    () => ({ search: pick(random, searchWords) }),
  ])();
}

async function start(
  client: ApiClient,
  ledger: Ledger,
  key: string,
  body: string,
): Promise<string | undefined> {
  let answer;
  try {
    answer = await client.call("POST", "/logs/export", body, { "idempotency-key": key });
  } catch {
    ledger.count("export no answer");
    return undefined;
  }
  ledger.count(`export ${answer.status}`);
  if (answer.status === 202) return started.parse(JSON.parse(answer.text)).data.id;
  if (!mayPass(answer))
    ledger.broken.push(`an export was answered with ${answer.status} ${answer.text}`);
  return undefined;
}

/** What a fault explains, and a repetition may mend; also that the request before is still running. */
function mayPass({ status, headers }: Answer): boolean {
  return [409, 503].includes(status) && headers.get("retry-after") !== null;
}

async function cancel(client: ApiClient, ledger: Ledger, id: string): Promise<void> {
  const answer = await client.call("DELETE", `/logs/export/${id}`).catch(() => undefined);
  ledger.count(`cancel ${answer?.status ?? "no answer"}`);
  // 409: it was done already.
  if (answer && ![200, 409, 503].includes(answer.status))
    ledger.broken.push(`a cancel was answered with ${answer.status} ${answer.text}`);
}
