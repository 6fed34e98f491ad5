import { AwsClient } from "aws4fetch";
import type { S3Config } from "../platform/config.ts";

/** True when the export bucket is there and the keys may see it. */
export async function bucketAnswers(config: S3Config, timeoutMs: number): Promise<boolean> {
  const aws = new AwsClient({
    accessKeyId: config.accessKeyId,
    secretAccessKey: config.secretAccessKey,
    region: config.region,
    service: "s3",
    retries: 0,
  });
  const response = await aws.fetch(`${config.endpoint}/${config.bucket}`, {
    method: "HEAD",
    signal: AbortSignal.timeout(timeoutMs),
  });
  return response.ok;
}
