import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { ApiClient } from "./api-client.ts";
import type { Cluster } from "./cluster.ts";
import { endLateCommits } from "./late-commits.ts";
import { endLeases, passTime } from "./pass-time.ts";
import { backendKinds } from "./plan-faults.ts";
import type { Follower } from "./readers.ts";
import type { World } from "./world.ts";

export type Settled = {
  /** What was not over in time: empty where all is. */
  unsettled: string[];
  /** Exports that had failed, and were retried as their users would. */
  failedExports: ReadonlySet<string>;
  tookMs: number;
};

const everyMs = 500;
const cronsEveryMs = 5_000;
/** What passes with each of them for the sweeps. */
const cronsSeconds = 300;
const progressEveryMs = 10_000;
const maxRetries = 5;
/** Longer than any part of the service waits by itself. */
const stalledMs = 100_000;
/** A poll that failed leaves its messages invisible for two minutes. */
const passAgainMs = 10_000;
/** No backend called for so long: nothing is at work that a kill would only undo. */
const quietMs = 2_000;

/** Ends the faults. */
export async function calm(world: World): Promise<void> {
  for (const kind of backendKinds) {
    world.proxies[kind].rules = [];
    await world.proxies[kind].accept();
  }
  await endLateCommits(world.database);
}

/**
 * Waits until nothing is left to do, without faults. Minutes that the service would wait for are made to
 * pass: while no Worker runs, its leases in Postgres and the visibility timeouts in SQS run out.
 *
 * @param limitMs bound of the wait; it is given up sooner where nothing changes any more
 */
export async function settle(
  world: World,
  cluster: Cluster,
  clients: readonly ApiClient[],
  followers: readonly Follower[],
  limitMs: number,
  onProgress: (text: string) => void,
): Promise<Settled> {
  const began = Date.now();
  await letTimePass(world, cluster);
  const retries = new Map<string, number>();
  let lastCrons = 0;
  let lastChange = Date.now();
  let lastPass = Date.now();
  let lastBusy = Date.now();
  let lastProgress = Date.now();
  let unsettled: string[] = ["nothing was looked at"];
  while (
    unsettled.length > 0 &&
    Date.now() - began < limitMs &&
    Date.now() - lastChange < stalledMs
  ) {
    if (Date.now() - lastCrons > cronsEveryMs) {
      lastCrons = Date.now();
      await passTime(world.database, cronsSeconds);
      await world.queueWatch.expire(world.sqs, "undelivered");
      // What fails here is tried again with the next ones; what never succeeds is left to do at the end.
      await cluster.fireCrons().catch(() => {});
      await retryExports(world, clients, retries);
    }
    await sleep(everyMs);
    for (const follower of followers) while (await follower.next());
    const left = await leftToDo(world, followers);
    if (left.join() !== unsettled.join()) lastChange = lastPass = Date.now();
    if (callsUnderWay(world) > 0) lastBusy = Date.now();
    const isQuiet = Date.now() - lastBusy > quietMs;
    if (left.length > 0 && isQuiet && Date.now() - lastPass > passAgainMs) {
      lastPass = Date.now();
      await letTimePass(world, cluster);
    }
    unsettled = left;
    if (Date.now() - lastProgress > progressEveryMs) {
      lastProgress = Date.now();
      onProgress(left.join(", "));
    }
  }
  return { unsettled, failedExports: new Set(retries.keys()), tookMs: Date.now() - began };
}

/** While no Worker runs, everything that it would wait for runs out. */
async function letTimePass({ queueWatch, sqs, database }: World, cluster: Cluster): Promise<void> {
  await cluster.kill();
  await queueWatch.expire(sqs, "all");
  await endLeases(database);
  await passTime(database, 3600);
  await cluster.restart();
}

const exportRows = z.array(z.object({ tenant_id: z.string(), id: z.string() }));

async function retryExports(
  { database }: World,
  clients: readonly ApiClient[],
  retries: Map<string, number>,
): Promise<void> {
  const { rows } = await database.query(
    "select tenant_id, id from export_pipelines where status = 'FAILED'",
  );
  for (const { tenant_id: tenantId, id } of exportRows.parse(rows)) {
    const count = retries.get(id) ?? 0;
    if (count >= maxRetries) continue;
    retries.set(id, count + 1);
    const client = clients.find(({ tenant }) => tenant === tenantId);
    await client?.call("POST", `/logs/export/${id}/retry`).catch(() => {});
  }
}

const callsUnderWay = ({ proxies }: World) =>
  proxies.postgres.underWay + proxies.opensearch.underWay + proxies.s3.underWay;

async function leftToDo(world: World, followers: readonly Follower[]): Promise<string[]> {
  const { database, sqs, queues } = world;
  const left: string[] = [];
  const note = (count: number, what: string) => count > 0 && left.push(`${count} ${what}`);
  note(callsUnderWay(world), "calls under way");
  const count = async (query: string) => {
    const { rows } = await database.query<{ n: number }>(`select count(*)::int as n from ${query}`);
    return rows[0]?.n ?? 0;
  };
  note(await count("pending_index"), "logs in the outbox");
  note(
    await count("export_pipelines where status in ('PENDING', 'IN_PROGRESS', 'FAILED')"),
    "exports not over",
  );
  for (const [name, url] of Object.entries(queues)) {
    const { waiting, inFlight } = await sqs.depth(url);
    note(waiting + inFlight, `messages in the queue of ${name}`);
  }
  const { rows } = await database.query<{ tenant_id: string; newest: Date }>(
    "select tenant_id, max(created_at) as newest from audit_logs group by tenant_id",
  );
  for (const { tenant_id: tenantId, newest } of rows) {
    const behind = followers.filter(
      ({ tenant, through }) => tenant === tenantId && through <= newest.toISOString(),
    );
    note(behind.length, "followers are behind");
  }
  return left;
}
