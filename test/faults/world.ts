import { randomBytes } from "node:crypto";
import pg from "pg";
import { type Sqs, connectSqs } from "../../aws/sqs.ts";
import { seededRandom } from "../../bench/entries.ts";
import { ensureBucket, ensureQueues } from "../../local/aws.ts";
import { type Config, parseConfig, requireSection } from "../../platform/config.ts";
import { makeDatabase } from "../tools/make-database.ts";
import { type FaultProxy, startFaultProxy } from "./fault-proxy.ts";
import { installLateCommits } from "./late-commits.ts";
import { poison } from "./make-log.ts";
import { backendKinds } from "./plan-faults.ts";
import type { BackendKind } from "./protocols.ts";
import { QueueWatch } from "./queue-watch.ts";

/** Where one run takes place: a database, queues and a bucket of its own, each behind a proxy. */
export type World = {
  /** Stands in a value of every log that is sent in this run, and nowhere else. */
  marker: string;
  tenants: readonly string[];
  /** The variables of the Workers: every endpoint is a proxy's. */
  env: Record<string, string>;
  /** The same, past the proxies: for the checks. */
  direct: Config;
  proxies: Record<BackendKind, FaultProxy>;
  /** The database, as its owner: sees every tenant. */
  database: pg.Client;
  sqs: Sqs;
  queues: { logs: string; exports: string };
  queueWatch: QueueWatch;
  stop(): Promise<void>;
};

/**
 * @param backends the variables of running backends, as `startBackends` or the tests' set-up gives them
 * @param seed decides what the proxies do to which call
 */
export async function openWorld(
  backends: Readonly<Record<string, string>>,
  seed: number,
): Promise<World> {
  const id = randomBytes(4).toString("hex");
  const { sqs: aws, s3, search } = parseConfig(backends).sections;
  if (!aws || !s3 || !search) throw new Error("The harness needs SQS, S3 and OpenSearch.");
  const databaseUrl = await makeDatabase(backends["DATABASE_URL"] ?? "", `faults_${id}`);
  const names = { logs: `faults-logs-${id}`, exports: `faults-exports-${id}` };
  const bucket = `faults-${id}`;
  const urls = await ensureQueues({ ...aws, queues: Object.values(names) });
  await ensureBucket({ ...s3, bucket });
  const own = {
    ...backends,
    DATABASE_URL: databaseUrl,
    SQS_LOG_QUEUE_URL: urls[names.logs] ?? "",
    SQS_EXPORT_QUEUE_URL: urls[names.exports] ?? "",
    EXPORT_S3_BUCKET: bucket,
    LOG_LEVEL: "INFO",
  };
  const queueWatch = new QueueWatch();
  const endpoint = new URL(backends["NEON_FETCH_ENDPOINT"] ?? "");
  const targets = {
    postgres: endpoint.origin,
    opensearch: search.node,
    sqs: aws.endpoint,
    s3: s3.endpoint,
  };
  const start = async (kind: BackendKind, n: number) =>
    startFaultProxy({
      kind,
      target: targets[kind],
      random: seededRandom(seed * 10 + n),
      poison,
      onAnswer: (answered) => {
        if (kind === "sqs") queueWatch.onAnswer(answered);
      },
    });
  const [postgres, opensearch, sqs, objects] = await Promise.all([
    start("postgres", 1),
    start("opensearch", 2),
    start("sqs", 3),
    start("s3", 4),
  ]);
  const proxies = { postgres, opensearch, sqs, s3: objects };
  const database = new pg.Client(databaseUrl);
  await database.connect();
  await installLateCommits(database);
  return {
    marker: randomBytes(4).toString("hex"),
    tenants: ["a", "b", "c"].map((name) => `faults-${id}-${name}`),
    env: {
      ...own,
      NEON_FETCH_ENDPOINT: `${postgres.url}${endpoint.pathname}`,
      OPENSEARCH_HOST: opensearch.url,
      SQS_ENDPOINT: sqs.url,
      AWS_ENDPOINT_URL: objects.url,
    },
    direct: parseConfig(own),
    proxies,
    database,
    sqs: connectSqs(requireSection(parseConfig(own), "sqs")),
    queues: { logs: own.SQS_LOG_QUEUE_URL, exports: own.SQS_EXPORT_QUEUE_URL },
    queueWatch,
    async stop() {
      await database.end();
      for (const kind of backendKinds) await proxies[kind].stop();
    },
  };
}
