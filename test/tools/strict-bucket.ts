import { AwsClient } from "aws4fetch";

/** Where the strict S3 of a run is, and its one bucket. */
export type StrictS3 = {
  endpoint: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  bucket: string;
};

/** The Workers' variables with it as their S3; the queues stay where they are. */
export function withStrictS3(
  variables: Readonly<Record<string, string>>,
  s3: StrictS3,
): Record<string, string> {
  return {
    ...variables,
    SQS_ENDPOINT: variables["SQS_ENDPOINT"] ?? variables["AWS_ENDPOINT_URL"] ?? "",
    AWS_ENDPOINT_URL: s3.endpoint,
    AWS_REGION: s3.region,
    AWS_ACCESS_KEY_ID: s3.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    EXPORT_S3_BUCKET: s3.bucket,
  };
}

/** Everything that a bucket has: keys of objects, and keys of uploads that were neither completed nor aborted. */
export async function listBucket(s3: StrictS3): Promise<{ objects: string[]; uploads: string[] }> {
  const aws = new AwsClient({ ...s3, service: "s3", retries: 0 });
  const keysOf = async (query: string) => {
    const answer = await aws.fetch(`${s3.endpoint}/${s3.bucket}?${query}`);
    const text = await answer.text();
    if (!answer.ok || text.includes("<IsTruncated>true"))
      throw new Error(`${query} was answered with ${answer.status}: ${text.slice(0, 300)}`);
    return [...text.matchAll(/<Key>([^<]*)<\/Key>/g)].map((found) => found[1] ?? "");
  };
  const [objects, uploads] = await Promise.all([keysOf("list-type=2"), keysOf("uploads=")]);
  return { objects, uploads };
}
