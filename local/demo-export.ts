import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { exportManifest } from "../events/export-manifest.ts";
import { DemoError } from "./demo-client.ts";
import { type DemoRun, printRow } from "./demo-run.ts";
import { verifyExport } from "./verify-export.ts";

const TIMEOUT_MS = 30_000;
const POLL_MS = 100;

const pipeline = z.object({
  data: z.object({
    id: z.string(),
    status: z.enum(["PENDING", "IN_PROGRESS", "DONE", "FAILED", "CANCELLED"]),
    rows_exported: z.number(),
    file_url: z.string().nullable(),
    manifest_url: z.string().nullable(),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
  }),
});
type Pipeline = z.infer<typeof pipeline>["data"];

/** Exports the run's logs as CSV, downloads the file through its presigned link, and verifies it by its manifest. */
export async function exportLogs(run: DemoRun): Promise<void> {
  const started = performance.now();
  const { data } = await run.client.request("/logs/export", pipeline, {
    method: "POST",
    body: { format: "csv", filters: { request_id: run.id } },
    idempotencyKey: `${run.id}-export`,
  });
  const done = await untilDone(run, data.data);
  printRow(
    "POST /logs/export, until DONE",
    `${done.rows_exported} rows`,
    performance.now() - started,
  );
  if (done.rows_exported !== run.entries.length) {
    run.problems.push(`${run.entries.length} were sent, and ${done.rows_exported} exported`);
  }

  const fetching = performance.now();
  const [file, manifest] = await Promise.all([
    download(done.file_url),
    download(done.manifest_url),
  ]);
  printRow(
    "downloaded by presigned links",
    `${file.byteLength} bytes`,
    performance.now() - fetching,
  );

  const dir = await mkdtemp(join(tmpdir(), "audit-log-demo-"));
  try {
    const path = join(dir, "export.csv");
    await writeFile(path, file);
    const parsed = exportManifest.parse(JSON.parse(manifest.toString("utf8")));
    const wrong = await verifyExport(path, parsed);
    printRow(
      "verified by its manifest",
      wrong ?? `${parsed.rows} rows, ${parsed.parts.length} part(s)`,
    );
    if (wrong !== undefined)
      run.problems.push(`the export is not what its manifest says: ${wrong}`);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function untilDone(run: DemoRun, begun: Pipeline): Promise<Pipeline> {
  const deadline = Date.now() + TIMEOUT_MS;
  let latest = begun;
  while (latest.status === "PENDING" || latest.status === "IN_PROGRESS") {
    if (Date.now() > deadline)
      throw new DemoError(`The export ${latest.id} was not done within ${TIMEOUT_MS / 1000} s.`);
    await sleep(POLL_MS);
    latest = (await run.client.request(`/logs/export/${latest.id}`, pipeline)).data.data;
  }
  if (latest.status === "DONE") return latest;
  throw new DemoError(
    `The export ${latest.id} is ${latest.status}: ${latest.error?.message ?? ""}`,
  );
}

async function download(url: string | null): Promise<Buffer> {
  if (url === null) throw new DemoError("A finished export has no link.");
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new DemoError(`The presigned link was answered with ${response.status}.`);
  return Buffer.from(await response.arrayBuffer());
}
