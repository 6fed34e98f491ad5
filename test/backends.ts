import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import "./provided.ts";
import { migrateDatabase } from "../db/migrate.ts";
import { ensureBucket, ensureQueues, startAws } from "../local/aws.ts";
import { startNeonEndpoint } from "../local/neon-endpoint.ts";
import { startOpenSearch } from "../local/opensearch.ts";
import { startPostgres } from "../local/postgres.ts";
import { startKeyHost } from "./tools/key-host.ts";
import { makeDatabase } from "./tools/make-database.ts";
import { startPromlint } from "./tools/promlint.ts";
import { startStrictS3 } from "./tools/strict-s3.ts";

const keys = { region: "ap-southeast-1", accessKeyId: "fake", secretAccessKey: "fake" };

/** Starts Postgres, SQS, S3 and OpenSearch once for the whole run, empty, and stops them after it. */
export default async function startBackends(project: TestProject): Promise<() => Promise<void>> {
  const dataDir = await mkdtemp(join(tmpdir(), "audit-log-test-"));
  const onProgress = (text: string) => console.log(text);
  const [postgres, aws, openSearch, strictS3] = await Promise.all([
    startPostgres({ dataDir: join(dataDir, "postgres"), persistent: false, fast: true }),
    startAws(),
    startOpenSearch({
      dataDir: join(dataDir, "opensearch"),
      fast: true,
      onProgress,
    }),
    startStrictS3(join(dataDir, "strict-s3"), onProgress),
  ]);
  const [queues, neon] = await Promise.all([
    ensureQueues({ ...keys, endpoint: aws.url, queues: ["logs", "exports"] }),
    // By its other name the server stands for a replica that has replayed everything.
    startNeonEndpoint({
      databaseUrl: postgres.url,
      readUrl: postgres.url.replace("127.0.0.1", "localhost"),
    }),
    ensureBucket({ ...keys, endpoint: aws.url, bucket: "logs-export" }),
    migrateDatabase(postgres.url),
  ]);
  const hanging = createServer(() => {});
  hanging.listen(0, "127.0.0.1");
  await once(hanging, "listening");
  project.provide("spareDatabaseUrl", await makeDatabase(postgres.url, "spare"));
  project.provide("quietDatabaseUrl", await makeDatabase(postgres.url, "quiet"));
  const keyHost = await startKeyHost();
  project.provide("keyHostUrl", keyHost.url);
  const promlint = await startPromlint();
  if ("missing" in promlint && process.env["CI"])
    throw new Error("CI must lint metrics with Prometheus' linter, and Go is not here.");
  project.provide(
    "promlint",
    "missing" in promlint ? { missing: promlint.missing } : { url: promlint.url },
  );
  const search = "missing" in openSearch ? undefined : openSearch;
  if (!search && process.env["CI"])
    throw new Error("CI must test against OpenSearch, and it is not here.");
  if ("missing" in strictS3 && process.env["CI"])
    throw new Error(`CI must test against a strict S3. ${strictS3.missing}`);
  const { stop: stopStrictS3, ...strictS3Keys } =
    "missing" in strictS3 ? { ...strictS3, stop: undefined } : strictS3;
  project.provide("strictS3", strictS3Keys);
  project.provide("searchMissing", "missing" in openSearch ? openSearch.missing : "");
  const address = hanging.address();
  project.provide(
    "hangingUrl",
    `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`,
  );
  project.provide("workerEnv", {
    DATABASE_URL: postgres.url,
    NEON_FETCH_ENDPOINT: neon.url,
    JWT_SECRET: "a secret of the tests, long enough to sign",
    HASH_SECRET: "another secret of the tests, for hashing",
    DEFAULT_ROLE: "writer,auditor",
    // Tests of other things count their own logs only.
    DEFAULT_READ_AUDIT: "changes",
    AWS_ACCESS_KEY_ID: keys.accessKeyId,
    AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
    AWS_ENDPOINT_URL: aws.url,
    SQS_LOG_QUEUE_URL: queues["logs"] ?? "",
    SQS_EXPORT_QUEUE_URL: queues["exports"] ?? "",
    METRICS_TOKEN: "a token for the tests' metrics",
    LOG_LEVEL: "ERROR",
    ...(search ? { OPENSEARCH_HOST: search.url } : {}),
  });
  return async () => {
    hanging.close();
    keyHost.stop();
    if ("stop" in promlint) promlint.stop();
    await neon.stop();
    await Promise.all([postgres.stop(), aws.stop(), search?.stop(), stopStrictS3?.()]);
    await rm(dataDir, { recursive: true, force: true });
  };
}
