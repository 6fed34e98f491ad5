import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { buffer } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { startChild } from "../local/child.ts";

/** What its process is found by. */
export const bucketProgram = "counting-bucket";

export type CountingBucket = { url: string; stop(): Promise<void> };

const started = z.object({ port: z.number() });

/**
 * S3 for an export that is measured, in a process of its own. Of parts it keeps only how many bytes they have,
 * as the client of the COPY beside it does: the stand-in of the local stack keeps all of them in memory, and
 * makes MD5 of each byte twice, on the cores that are measured.
 */
export async function startCountingBucket(): Promise<CountingBucket> {
  const child = await startChild(process.execPath, [fileURLToPath(import.meta.url)], { ipc: true });
  const first = await Promise.race([once(child.process, "message"), child.exited]);
  if (typeof first === "string")
    throw new Error(`The counting bucket ended (${first}):\n${child.tail()}`);
  const { port } = started.parse(first[0]);
  return { url: `http://127.0.0.1:${port}`, stop: () => child.stop() };
}

type Answer = { status?: number; headers?: Record<string, string>; body?: string | Buffer };

const noUpload: Answer = { status: 404, body: "<Error><Code>NoSuchUpload</Code></Error>" };

/** Bytes of the parts of open uploads, by upload and number. */
const uploads = new Map<string, Map<string, number>>();
/** What was put in one piece, by its path: manifests, and parts that were put aside. */
const objects = new Map<string, Buffer>();
/** Bytes of what was put in parts. */
const files = new Map<string, number>();

async function answer(request: IncomingMessage): Promise<Answer> {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://bucket");
  const [upload, part] = [searchParams.get("uploadId"), searchParams.get("partNumber")];
  switch (request.method) {
    case "POST":
      await buffer(request);
      return upload === null ? begin() : complete(pathname, upload);
    case "PUT":
      if (upload !== null && part !== null) return takePart(request, upload, part);
      objects.set(pathname, await buffer(request));
      return {};
    case "DELETE":
      if (upload === null) objects.delete(pathname);
      else uploads.delete(upload);
      return { status: 204 };
    default:
      return searchParams.has("uploads") ? { body: "<Uploads/>" } : find(pathname);
  }
}

function begin(): Answer {
  const id = randomUUID();
  uploads.set(id, new Map());
  return { body: `<Upload><UploadId>${id}</UploadId></Upload>` };
}

async function takePart(request: IncomingMessage, upload: string, part: string): Promise<Answer> {
  let bytes = 0;
  request.on("data", (chunk: Buffer) => (bytes += chunk.length));
  await once(request, "end");
  const parts = uploads.get(upload);
  if (!parts) return noUpload;
  parts.set(part, bytes);
  // That of S3 would be the MD5 of the part; nobody compares it here.
  const digest = String(request.headers["x-amz-content-sha256"]).slice(0, 32);
  return { headers: { ETag: `"${digest}"` } };
}

function complete(path: string, upload: string): Answer {
  const parts = uploads.get(upload);
  if (!parts) return noUpload;
  uploads.delete(upload);
  const bytes = [...parts.values()].reduce((sum, size) => sum + size, 0);
  files.set(path, bytes);
  return { body: "<CompleteMultipartUploadResult/>" };
}

function find(path: string): Answer {
  const bytes = files.get(path);
  if (bytes !== undefined) return { headers: { "Content-Length": String(bytes) } };
  const object = objects.get(path);
  return object ? { body: object } : { status: 404 };
}

async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    const { status = 200, headers = {}, body = "" } = await answer(request);
    response.writeHead(status, headers).end(body);
  } catch {
    response.destroy();
  }
}

if (import.meta.main) {
  const server = createServer((request, response) => void respond(request, response));
  // A client that uses a connection again must never meet one that is just being closed.
  server.keepAliveTimeout = 0;
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    if (typeof address === "object" && address) process.send?.({ port: address.port });
  });
  process.once("disconnect", () => process.exit());
}
