import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { idTime } from "../../events/ids.ts";
import type { ApiClient } from "./api-client.ts";
import type { Acknowledged, Ledger } from "./ledger.ts";
import { pick, searchWords, userIds } from "./make-log.ts";

const page = z.object({
  items: z.array(
    z.object({
      id: z.string(),
      tenant_id: z.string(),
      created_at: z.string(),
      resource_id: z.string(),
    }),
  ),
  next_cursor: z.string().nullable(),
  indexed_through: z.string(),
  source: z.string(),
});
type Page = z.infer<typeof page>;

export type ReaderOptions = {
  client: ApiClient;
  ledger: Ledger;
  random: () => number;
  signal: AbortSignal;
};

/** A page; undefined where a fault came between. What only a defect explains is noted. */
async function list(
  { client, ledger }: Pick<ReaderOptions, "client" | "ledger">,
  what: string,
  query: Record<string, string>,
): Promise<Page | undefined> {
  let answer;
  try {
    answer = await client.call("GET", `/logs?${new URLSearchParams(query)}`);
  } catch {
    ledger.count(`${what} no answer`);
    return undefined;
  }
  ledger.count(`${what} ${answer.status}`);
  if (answer.status !== 200) {
    if (answer.status !== 503)
      ledger.broken.push(`${what} was answered with ${answer.status} ${answer.text}`);
    return undefined;
  }
  const found = page.parse(JSON.parse(answer.text));
  ledger.marks.push({
    tenant: client.tenant,
    through: Date.parse(found.indexed_through),
    at: Date.now(),
  });
  for (const item of found.items)
    if (item.tenant_id !== client.tenant)
      ledger.broken.push(`${what}: ${client.tenant} saw log ${item.id} of ${item.tenant_id}`);
  return found;
}

/** Follows a tenant's logs as a SIEM does: ascending, from cursor to cursor, for ever. */
export class Follower {
  readonly #options: ReaderOptions;
  readonly #seen = new Set<string>();
  #cursor: string | undefined;
  #last = "";
  #through = "";

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  get tenant(): string {
    return this.#options.client.tenant;
  }
  get seen(): ReadonlySet<string> {
    return this.#seen;
  }
  /** What the service says of the last page, where that was the end: all before this time was there. */
  get through(): string {
    return this.#through;
  }

  async run(): Promise<void> {
    while (!this.#options.signal.aborted) {
      const isFull = await this.next();
      if (!isFull) await sleep(100 + this.#options.random() * 200);
    }
  }

  /** Takes one page. Returns whether there is more to take at once. */
  async next(): Promise<boolean> {
    const { ledger } = this.#options;
    const found = await list(this.#options, "follow", {
      order: "asc",
      page_size: "100",
      ...(this.#cursor === undefined ? {} : { cursor: this.#cursor }),
    });
    if (!found) return false;
    for (const { id, created_at: createdAt } of found.items) {
      if (this.#seen.has(id)) ledger.broken.push(`a follower got log ${id} twice`);
      else if (id <= this.#last) ledger.broken.push(`a follower got log ${id} after ${this.#last}`);
      if (createdAt >= found.indexed_through)
        ledger.broken.push(
          `a follower got log ${id} of ${createdAt}, not before indexed_through ${found.indexed_through}`,
        );
      this.#seen.add(id);
      this.#last = id;
    }
    if (found.next_cursor === null) ledger.broken.push("an ascending page had no next_cursor");
    else this.#cursor = found.next_cursor;
    const isFull = found.items.length === 100;
    this.#through = isFull ? "" : found.indexed_through;
    return isFull;
  }
}

/** Searches and lists, and holds the service to what it says of itself. */
export async function runSearcher(
  options: ReaderOptions,
  others: readonly string[],
): Promise<void> {
  const { random, signal } = options;
  while (!signal.aborted) {
    await pick(random, [search, checkMark, checkMark, () => readForeign(options, others)])(options);
    await sleep(100 + random() * 400);
  }
}

async function search(options: ReaderOptions): Promise<void> {
  const { random } = options;
  const query = pick(random, [
    { search: pick(random, searchWords) },
    { user_id: pick(random, userIds), page_size: "50" },
    { action: "document.*", severity: "ERROR" },
  ]);
  await list(options, "search", query);
}

/** Waits until everything that is stored by now is searchable, as far as the service says. */
export async function untilSearchable(options: ReaderOptions, limitMs: number): Promise<void> {
  const began = Date.now();
  while (!options.signal.aborted && Date.now() - began < limitMs) {
    const told = await list(options, "list", { page_size: "1" });
    if (told && Date.parse(told.indexed_through) > began) return;
    await sleep(200);
  }
}

const maxProbes = 4;

/** indexed_through is a promise: what was acknowledged and lies before it is found, now. */
async function checkMark(options: ReaderOptions): Promise<void> {
  const { client, ledger, random } = options;
  const known = ledger.acknowledged.filter(({ tenant }) => tenant === client.tenant).slice(-200);
  const told = await list(options, "list", { page_size: "1" });
  if (!told) return;
  const through = Date.parse(told.indexed_through);
  const covered = known.filter(({ id, log }) => !log.isPoisoned && idTime(id) < through);
  // The newest of them are those that a wrong mark would cover too early.
  for (const one of [...covered.slice(-2), ...sample(random, covered, maxProbes - 2)])
    await probe(options, one, told.indexed_through);
}

async function probe(options: ReaderOptions, one: Acknowledged, through: string): Promise<void> {
  const found = await list(options, "probe", { resource_id: one.log.marker });
  if (!found) return;
  const ids = found.items.map(({ id }) => id);
  if (ids.length !== 1 || ids[0] !== one.id)
    options.ledger.broken.push(
      `indexed_through was ${through}, but a search of ${found.source} for log ${one.id} found ${JSON.stringify(ids)}`,
    );
}

/** A log of another tenant is not there, whoever knows its id. */
async function readForeign({ client, ledger, random }: ReaderOptions, others: readonly string[]) {
  const foreign = ledger.acknowledged.filter(({ tenant }) => others.includes(tenant));
  if (foreign.length === 0) return;
  const { id } = pick(random, foreign);
  const answer = await client.call("GET", `/logs/${id}`).catch(() => undefined);
  ledger.count(`foreign ${answer?.status ?? "no answer"}`);
  if (answer && answer.status !== 404 && answer.status !== 503)
    ledger.broken.push(`log ${id} of another tenant was answered with ${answer.status}`);
}

function sample<T>(random: () => number, values: readonly T[], count: number): T[] {
  return values.length === 0 ? [] : Array.from({ length: count }, () => pick(random, values));
}
