import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SignJWT } from "jose";
import pg from "pg";
import { afterAll, beforeAll, expect, inject, test, vi } from "vitest";
import { connectSqs } from "../../aws/sqs.ts";
import { migrateDatabase } from "../../db/migrate.ts";
import { ensureQueues } from "../../local/aws.ts";
import { fireScheduled } from "../../local/cron.ts";
import { freePort } from "../../local/ports.ts";
import { startWorkers, type Workers } from "../../local/workers.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { callerOf } from "../journeys/api.ts";
import "../provided.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const given = inject("workerEnv");
const minuteMs = 60_000;

let dataDir = "";
let workers: Workers | undefined;
let counter: Server | undefined;
let queries = 0;
let env: Record<string, string> = {};

/** Stands before the database's endpoint and counts what is asked of it. */
async function startCounter(endpoint: string): Promise<string> {
  counter = createServer(async (incoming, response) => {
    queries++;
    const body: Uint8Array[] = [];
    for await (const chunk of incoming) body.push(chunk);
    const headers = Object.entries(incoming.headers).flatMap(([name, value]) =>
      typeof value === "string" && name.startsWith("neon")
        ? [[name, value] satisfies [string, string]]
        : [],
    );
    const answer = await fetch(endpoint, { method: "POST", headers, body: Buffer.concat(body) });
    response.writeHead(answer.status, { "content-type": "application/json" });
    response.end(await answer.text());
  });
  counter.listen(0, "127.0.0.1");
  await once(counter, "listening");
  const address = counter.address();
  return `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}/sql`;
}

/** A database, queues and Workers of this test's own: whatever is asked here is asked by these. */
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "audit-log-idle-"));
  const name = `idle_${randomUUID().replaceAll("-", "")}`;
  const client = new pg.Client(given["DATABASE_URL"]);
  await client.connect();
  await client.query(`create database ${name}`);
  await client.end();
  const database = new URL(given["DATABASE_URL"] ?? "");
  database.pathname = `/${name}`;
  await migrateDatabase(database.href);
  const queues = await ensureQueues({
    region: "ap-southeast-1",
    accessKeyId: "fake",
    secretAccessKey: "fake",
    endpoint: given["AWS_ENDPOINT_URL"] ?? "",
    queues: [`${name}-logs`, `${name}-exports`],
  });
  env = {
    ...given,
    DATABASE_URL: database.href,
    NEON_FETCH_ENDPOINT: await startCounter(given["NEON_FETCH_ENDPOINT"] ?? ""),
    SQS_LOG_QUEUE_URL: queues[`${name}-logs`] ?? "",
    SQS_EXPORT_QUEUE_URL: queues[`${name}-exports`] ?? "",
  };
  const port = await freePort();
  workers = await startWorkers({ root, port, dataDir, env });
  const { url } = workers;
  const isUp = async () => {
    if (!(await fetch(`${url}/docs`)).ok) throw new Error("not yet");
  };
  await vi.waitFor(isUp, { timeout: 100_000, interval: 250 });
}, 120_000);

afterAll(async () => {
  await workers?.stop();
  counter?.close();
  await rm(dataDir, { recursive: true, force: true });
}, 60_000);

test("ten minutes after the last write, no Worker asks Postgres more often than every 15 minutes", async () => {
  const { url = "", scheduled = [] } = workers ?? {};
  const secret = new TextEncoder().encode(env["JWT_SECRET"]);
  const caller = callerOf(
    {
      fetch: (path, init) => fetch(`${url}${path}`, init),
      token: (claims) =>
        new SignJWT({ role: "admin", sub: "alice", ...claims })
          .setProtectedHeader({ alg: "HS256" })
          .setExpirationTime("1h")
          .sign(secret),
    },
    { tenant_id: "idle" },
  );
  await caller.create();
  await caller.settled();
  const lastWrite = Date.now();
  const config = requireSection(parseConfig(env), "sqs");
  const sqs = connectSqs(config);
  await vi.waitFor(
    async () => expect(await sqs.depth(config.logQueueUrl)).toEqual({ waiting: 0, inFlight: 0 }),
    { timeout: 20_000, interval: 100 },
  );

  // The crons of an hour and a half, one after the other; between them the pollers do what they do.
  const asked = new Map<number, number>();
  queries = 0;
  for (let minute = 1; minute <= 90; minute++) {
    const at = lastWrite + minute * minuteMs;
    await Promise.all(scheduled.map((worker) => fireScheduled(url, worker, undefined, at)));
    if (queries > 0) asked.set(minute, queries);
    queries = 0;
  }

  const minutes = [...asked.keys()];
  expect(scheduled.toSorted()).toEqual([
    "audit-log-exporter",
    "audit-log-indexer",
    "audit-log-maintenance",
  ]);
  // While it is active, each minute.
  expect(minutes.filter((minute) => minute <= 9)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const quiet = minutes.filter((minute) => minute > 10);
  expect(quiet.length).toBeGreaterThanOrEqual(5);
  for (const [n, minute] of quiet.slice(1).entries())
    expect(minute - (quiet[n] ?? 0)).toBeGreaterThanOrEqual(15);
  // The work of a quarter of an hour: six jobs, a round trip or three each.
  for (const minute of quiet) expect(asked.get(minute)).toBeLessThanOrEqual(16);
}, 90_000);
