import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { Answer, ApiClient } from "./api-client.ts";
import type { Ledger, Write } from "./ledger.ts";
import { makeLog, type SentLog } from "./make-log.ts";
import { untilSearchable } from "./readers.ts";

const created = z.object({ data: z.object({ id: z.string() }) });
const createdMany = z.object({ data: z.object({ log_ids: z.array(z.string()) }) });

export type WriterOptions = {
  clients: readonly ApiClient[];
  ledger: Ledger;
  /** Told apart from the markers of every other writer and run. */
  name: string;
  random: () => number;
  /** Between two writes, on average. */
  thinkMs: number;
  signal: AbortSignal;
};

const share = { keyed: 0.3, bulk: 0.25, refused: 0.02, poisoned: 0.004, large: 0.01 };
const largeBytes = 60_000;

/** Writes for one tenant after the other until it is told to stop. */
export async function runWriter(options: WriterOptions): Promise<void> {
  const { clients, ledger, name, random, thinkMs, signal } = options;
  for (let n = 0; !signal.aborted; n++) {
    const client = clients[Math.floor(random() * clients.length)];
    if (!client) return;
    const markers = `${name}-${n}`;
    const key = random() < share.keyed ? { key: `key of ${markers}`, signal } : undefined;
    if (random() < share.refused) await writeRefused(client, ledger, makeLog(random, markers));
    else if (random() < share.bulk) {
      const size = 1 + Math.floor(random() * random() * 60);
      const logs = Array.from({ length: size }, (_, at) => oneLog(random, `${markers}-${at}`));
      await write(client, ledger, "bulk", logs, key);
    } else await write(client, ledger, "single", [oneLog(random, markers)], key);
    await sleep(random() * 2 * thinkMs);
  }
}

const loneWaitMs = 8_000;

/**
 * Writes one log for a tenant that no one else writes for, lists until it is searchable, and only then
 * writes the next: what waits for the index of a busy tenant hides a mark that runs ahead of late commits.
 */
export async function runLoneWriter(
  options: Omit<WriterOptions, "clients" | "thinkMs"> & { client: ApiClient },
): Promise<void> {
  const { client, ledger, name, random, signal } = options;
  for (let n = 0; !signal.aborted; n++) {
    const written = write(client, ledger, "single", [makeLog(random, `${name}-${n}`)]);
    await untilSearchable(options, loneWaitMs);
    await written;
  }
}

function oneLog(random: () => number, marker: string): SentLog {
  return makeLog(random, marker, {
    isPoisoned: random() < share.poisoned,
    paddingBytes: random() < share.large ? largeBytes : 0,
  });
}

/** Enough large logs that an export of them all has several parts. */
export async function writeManyLarge(
  client: ApiClient,
  ledger: Ledger,
  name: string,
  random: () => number,
): Promise<void> {
  for (let n = 0; n < 6; n++) {
    const logs = Array.from({ length: 20 }, (_, at) =>
      makeLog(random, `${name}-${n}-${at}`, { paddingBytes: largeBytes }),
    );
    await write(client, ledger, "bulk", logs);
  }
}

/** Under a key a request that failed is sent again, with longer and longer waits, until this many tries or the end. */
const mostTries = 15;
const longestWaitMs = 3_000;
type Keyed = { key: string; signal: AbortSignal };

async function write(
  client: ApiClient,
  ledger: Ledger,
  kind: Write["kind"],
  logs: readonly SentLog[],
  keyed?: Keyed,
): Promise<void> {
  const isBulk = kind === "bulk";
  const path = isBulk ? "/logs/bulk" : "/logs";
  const body = isBulk ? `{"logs":[${logs.map(({ text }) => text).join(",")}]}` : logs[0]?.text;
  const headers = keyed === undefined ? {} : { "idempotency-key": keyed.key };
  let answer: Answer | undefined;
  let tries = 0;
  const limit = keyed === undefined ? 1 : mostTries;
  do {
    if (tries > 0) await sleep(Math.min(longestWaitMs, 200 * 2 ** tries));
    answer = await answerOf(client, path, body ?? "", headers);
    tries++;
    ledger.count(`${kind}${keyed ? " keyed" : ""} ${answer?.status ?? "no answer"}`);
  } while (mayPass(answer, keyed) && tries < limit && !keyed?.signal.aborted);
  const sent = { tenant: client.tenant, kind, logs, ...(keyed ? { tries } : {}) };
  if (answer?.status !== 201) {
    ledger.wrote({ ...sent, outcome: "unknown", ids: [] });
    if (answer && !mayPass(answer, keyed))
      ledger.broken.push(`a valid ${kind} write was answered with ${answer.status} ${answer.text}`);
    return;
  }
  const body201: unknown = JSON.parse(answer.text);
  const ids = isBulk ? createdMany.parse(body201).data.log_ids : [created.parse(body201).data.id];
  if (ids.length !== logs.length)
    ledger.broken.push(`${logs.length} logs were answered with ${ids.length} ids`);
  ledger.wrote({ ...sent, outcome: "acknowledged", ids });
}

/**
 * What a fault explains: a broken connection, or 503 with its Retry-After; and under a key 409 with one, while
 * the try before is still running.
 */
function mayPass(answer: Answer | undefined, keyed: Keyed | undefined): boolean {
  if (!answer) return true;
  const isPassing = answer.status === 503 || (keyed !== undefined && answer.status === 409);
  return isPassing && answer.headers.get("retry-after") !== null;
}

/** A mistake of the sender: it must be refused whatever fails, and must never be stored. */
async function writeRefused(client: ApiClient, ledger: Ledger, log: SentLog): Promise<void> {
  const body = `{"logs":[${log.text},{"action":"a","resource_type":"r","resource_id":"i","acton":"b"}]}`;
  const answer = await answerOf(client, "/logs/bulk", body);
  ledger.count(`invalid ${answer?.status ?? "no answer"}`);
  ledger.wrote({ tenant: client.tenant, kind: "bulk", logs: [log], outcome: "refused", ids: [] });
  if (answer && answer.status !== 422)
    ledger.broken.push(`an invalid write was answered with ${answer.status} ${answer.text}`);
}

async function answerOf(
  client: ApiClient,
  path: string,
  body: string,
  headers: Record<string, string> = {},
): Promise<Answer | undefined> {
  try {
    return await client.call("POST", path, body, headers);
  } catch {
    return undefined;
  }
}
