import { randomBytes } from "node:crypto";
import { type JWTPayload, SignJWT } from "jose";
import { ensureBucket, ensureQueues } from "../../local/aws.ts";
import { parseConfig } from "../../platform/config.ts";
import { startCluster } from "../faults/cluster.ts";
import { makeDatabase } from "../tools/make-database.ts";

/** The whole service on loopback, from the bundles that would be deployed, with nothing stored yet. */
export type Api = {
  url: string;
  /** A token that holds for an hour. */
  token(claims: JWTPayload): Promise<string>;
  stop(): Promise<void>;
};

/**
 * Serves the Workers for tests from outside: with a database, queues and a bucket of its own, since a
 * platform admin's requests reach every tenant.
 *
 * @param backends the variables of running backends, as `startBackends` or the tests' set-up gives them
 * @param dir a folder of the caller's, for the bundles
 */
export async function startApi(
  backends: Readonly<Record<string, string>>,
  dir: string,
): Promise<Api> {
  const id = randomBytes(4).toString("hex");
  const { sections } = parseConfig(backends);
  const [sqs, s3] = [sections.sqs, sections.s3];
  if (!sqs || !s3) throw new Error("The API needs SQS and S3.");
  const names = { logs: `api-logs-${id}`, exports: `api-exports-${id}` };
  const bucket = `api-${id}`;
  const [databaseUrl, urls] = await Promise.all([
    makeDatabase(backends["DATABASE_URL"] ?? "", `api_${id}`),
    ensureQueues({ ...sqs, queues: Object.values(names) }),
    ensureBucket({ ...s3, bucket }),
  ]);
  const env = {
    ...backends,
    DATABASE_URL: databaseUrl,
    SQS_LOG_QUEUE_URL: urls[names.logs] ?? "",
    SQS_EXPORT_QUEUE_URL: urls[names.exports] ?? "",
    EXPORT_S3_BUCKET: bucket,
  };
  const cluster = await startCluster({ dir, env });
  const secret = new TextEncoder().encode(backends["JWT_SECRET"]);
  return {
    url: cluster.url,
    token: (claims) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: "HS256" })
        .setIssuedAt()
        .setExpirationTime("1h")
        .sign(secret),
    stop: () => cluster.stop(),
  };
}
