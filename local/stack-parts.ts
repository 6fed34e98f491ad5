import { join } from "node:path";
import { migrateDatabase } from "../db/migrate.ts";
import { ensureBucket, ensureQueues, startAws, type AwsAccess } from "./aws.ts";
import type { Running } from "./child.ts";
import { startNeonEndpoint } from "./neon-endpoint.ts";
import { startOpenSearch } from "./opensearch.ts";
import { startPostgres } from "./postgres.ts";

/** What every part is started with. */
export type Parts = {
  environment: NodeJS.ProcessEnv;
  options: { dataDir: string; persistent: boolean; fast?: boolean };
  started(name: string, part: { stop(): Promise<void> } & Partial<Running>): void;
  progress(text: string): void;
};

export type Settings = Record<string, string>;

async function migrate(databaseUrl: string): Promise<void> {
  try {
    await migrateDatabase(databaseUrl);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`The database could not be brought up to date: ${reason}`, { cause: error });
  }
}

export async function startDatabase({ environment, options, ...parts }: Parts): Promise<Settings> {
  const began = Date.now();
  let url = environment["DATABASE_URL"];
  let name = "the database of DATABASE_URL";
  if (!url) {
    const postgres = await startPostgres({
      dataDir: join(options.dataDir, "postgres"),
      persistent: options.persistent,
      fast: options.fast ?? false,
      logFile: join(options.dataDir, "logs", "postgres.log"),
    });
    parts.started("PostgreSQL", postgres);
    name = "PostgreSQL 18";
    url = postgres.url;
  }
  await migrate(url);
  // A replica is one of a database that was given, and never of the stack's own.
  const readUrl = environment["DATABASE_URL"] ? environment["DATABASE_READ_URL"] : undefined;
  const settings: Settings = { DATABASE_URL: url, DATABASE_READ_URL: readUrl ?? "" };
  const given = environment["NEON_FETCH_ENDPOINT"];
  if (given) settings["NEON_FETCH_ENDPOINT"] = given;
  // Neon's own hosts have the endpoint themselves.
  else if (!new URL(url).hostname.endsWith(".neon.tech")) {
    const endpoint = await startNeonEndpoint({ databaseUrl: url, readUrl });
    parts.started("SQL over HTTP", endpoint);
    settings["NEON_FETCH_ENDPOINT"] = endpoint.url;
  }
  parts.progress(`${name}, schema up to date (${seconds(began)})`);
  return settings;
}

export async function startQueuesAndObjects({
  environment,
  options,
  ...parts
}: Parts): Promise<Settings> {
  const began = Date.now();
  const keys = {
    region: environment["AWS_REGION"] || "ap-southeast-1",
    accessKeyId: environment["AWS_ACCESS_KEY_ID"] || "fake",
    secretAccessKey: environment["AWS_SECRET_ACCESS_KEY"] || "fake",
  };
  let sqs = environment["SQS_ENDPOINT"];
  let s3 = environment["AWS_ENDPOINT_URL"];
  if (!sqs || !s3) {
    const standIn = await startAws({
      dataDir: options.persistent ? join(options.dataDir, "aws") : undefined,
      logFile: join(options.dataDir, "logs", "aws.log"),
    });
    parts.started("SQS and S3 (fauxqs)", standIn);
    sqs ||= standIn.url;
    s3 ||= standIn.url;
  }
  const bucket = environment["EXPORT_S3_BUCKET"] || "logs-export";
  const [logs, exports] = await Promise.all([
    queueUrl({ ...keys, endpoint: sqs }, "logs", environment["SQS_LOG_QUEUE_URL"], parts),
    queueUrl({ ...keys, endpoint: sqs }, "exports", environment["SQS_EXPORT_QUEUE_URL"], parts),
    ensureBucket({ ...keys, endpoint: s3, bucket }).catch((error: unknown) => {
      // With keys that may not make a bucket the rest still works, exports aside.
      if (!environment["AWS_ENDPOINT_URL"]) throw error;
      parts.progress(`warning: ${messageOf(error)}`);
    }),
  ]);
  parts.progress(`SQS and S3, queues and bucket are there (${seconds(began)})`);
  return {
    AWS_ACCESS_KEY_ID: keys.accessKeyId,
    AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
    AWS_REGION: keys.region,
    AWS_ENDPOINT_URL: s3,
    SQS_ENDPOINT: sqs,
    SQS_LOG_QUEUE_URL: logs,
    SQS_EXPORT_QUEUE_URL: exports,
    EXPORT_S3_BUCKET: bucket,
  };
}

async function queueUrl(
  access: AwsAccess,
  name: string,
  given: string | undefined,
  parts: Pick<Parts, "progress">,
): Promise<string> {
  const wanted = given ? (new URL(given).pathname.split("/").at(-1) ?? name) : name;
  try {
    const urls = await ensureQueues({ ...access, queues: [wanted] });
    return given ?? urls[wanted] ?? "";
  } catch (error) {
    if (!given) throw error;
    parts.progress(`warning: ${messageOf(error)}`);
    return given;
  }
}

export async function startSearch({
  environment,
  options,
  ...parts
}: Parts): Promise<{ settings: Settings; note?: string }> {
  const began = Date.now();
  const given = environment["OPENSEARCH_HOST"];
  if (given) return { settings: { OPENSEARCH_HOST: given } };
  try {
    const search = await startOpenSearch({
      dataDir: join(options.dataDir, "opensearch"),
      fast: options.fast ?? false,
      logFile: join(options.dataDir, "logs", "opensearch.log"),
      onProgress: parts.progress,
    });
    if ("missing" in search) return { settings: {}, note: search.missing };
    parts.started("OpenSearch", search);
    parts.progress(`OpenSearch ${search.version} (${seconds(began)})`);
    return { settings: { OPENSEARCH_HOST: search.url } };
  } catch (error) {
    return { settings: {}, note: messageOf(error) };
  }
}

function seconds(since: number): string {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
