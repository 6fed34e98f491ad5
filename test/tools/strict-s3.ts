import { mkdir, mkdtemp, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { AwsClient } from "aws4fetch";
import { startChild } from "../../local/child.ts";
import { cacheFolder } from "../../local/opensearch-jars.ts";
import { freePort } from "../../local/ports.ts";
import type { StrictS3 } from "./strict-bucket.ts";

/**
 * versitygw checks what the stand-in of the local stack does not: signatures and their scope, the digest of a
 * body, the expiry of a link, the least size of a part. It lists parts and open uploads.
 */
const version = "1.8.0";
const program = `github.com/versity/versitygw/cmd/versitygw@v${version}`;
const buildTimeoutMs = 10 * 60_000;
const startTimeoutMs = 10_000;

/**
 * Starts it on a folder, with one bucket. Go builds it once for each user, in about a minute and a half.
 *
 * @returns why it cannot be had, where Go is missing
 */
export async function startStrictS3(
  dataDir: string,
  onProgress: (text: string) => void,
): Promise<(StrictS3 & { stop: () => Promise<void> }) | { missing: string }> {
  const built = await build(onProgress);
  if ("missing" in built) return built;
  await mkdir(dataDir, { recursive: true });
  const keys = { accessKeyId: "strict", secretAccessKey: "a-strict-secret", region: "eu-west-1" };
  const port = await freePort();
  const server = await startChild(
    built.file,
    ["--port", `127.0.0.1:${port}`, "--region", keys.region, "--quiet", "posix", dataDir],
    {
      env: {
        ...process.env,
        ROOT_ACCESS_KEY: keys.accessKeyId,
        ROOT_SECRET_KEY: keys.secretAccessKey,
      },
    },
  );
  const endpoint = `http://127.0.0.1:${port}`;
  const bucket = "strict-exports";
  const aws = new AwsClient({ ...keys, service: "s3", retries: 0 });
  const url = `${endpoint}/${bucket}`;
  const until = Date.now() + startTimeoutMs;
  for (;;) {
    const made = await aws.fetch(url, { method: "PUT" }).catch(() => undefined);
    if (made?.ok) break;
    if (Date.now() > until || !server.running())
      throw new Error(`versitygw did not start (${made?.status}):\n${server.tail()}`);
    await sleep(50);
  }
  return { ...keys, endpoint, bucket, stop: () => server.stop() };
}

async function build(
  onProgress: (text: string) => void,
): Promise<{ file: string } | { missing: string }> {
  const folder = join(cacheFolder(), `versitygw-${version}`);
  const file = join(folder, "versitygw");
  const isThere = await stat(file).then(
    () => true,
    () => false,
  );
  if (isThere) return { file };
  onProgress(`building versitygw ${version}, a strict S3, once`);
  await mkdir(folder, { recursive: true });
  // A build that is cut off never counts.
  const half = await mkdtemp(join(folder, "build-"));
  try {
    const go = await startChild("go", ["install", program], {
      env: { ...process.env, GOBIN: half, GOFLAGS: "-trimpath", CGO_ENABLED: "0" },
    });
    const timer = setTimeout(() => void go.stop(), buildTimeoutMs);
    const end = await go.exited;
    clearTimeout(timer);
    if (end !== "exit code 0")
      return { missing: `go install ${program} failed (${end}):\n${go.tail()}` };
    await rename(join(half, "versitygw"), file);
    return { file };
  } catch (error) {
    return { missing: `Go is needed to build it: ${String(error)}` };
  } finally {
    await rm(half, { recursive: true, force: true });
  }
}
