import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { Client } from "./client.ts";
import { bucketProgram } from "./counting-bucket.ts";
import { cpuSeconds, cpuSecondsOfTree, findChild } from "./process-cpu.ts";
import type { System } from "./system.ts";

const exportAnswer = z.object({
  data: z.object({
    id: z.string(),
    status: z.string(),
    rows_exported: z.number(),
    bytes: z.number(),
    finished_at: z.iso.datetime().transform(Date.parse).nullable(),
    error: z.unknown(),
  }),
});

export type ExportKind = {
  format: "csv" | "jsonl";
  compression: "none" | "gzip";
  /** What was stored later, as the service's own logs of these exports, is not part of it. */
  filters?: { to: string };
};

/** CPU seconds by who used them; undefined where the system does not tell. */
export type ExportCpu = {
  exporter: number | undefined;
  postgres: number | undefined;
  /** This process, which holds the SQL-over-HTTP endpoint. */
  sqlEndpoint: number;
  /** The bucket that only counts. */
  s3: number | undefined;
};

export type Exported = { rows: number; bytes: number; seconds: number; cpu: ExportCpu };

const pollEveryMs = 250;
const giveUpMs = 15 * 60_000;

/** An export of a tenant's logs by the API, from asking for it until the service says that it was done. */
export async function runExport(
  client: Client,
  system: System,
  kind: ExportKind,
): Promise<Exported> {
  const cpuBefore = cpuNow(system);
  const began = Date.now();
  const asked = await client.post("/logs/export", kind);
  const { id } = exportAnswer.parse(asked).data;
  while (Date.now() - began < giveUpMs) {
    const { data } = exportAnswer.parse(await client.get(`/logs/export/${id}`));
    if (data.status === "DONE" && data.finished_at !== null) {
      const seconds = (data.finished_at - began) / 1000;
      const cpu = cpuBetween(cpuBefore, cpuNow(system));
      return { rows: data.rows_exported, bytes: data.bytes, seconds, cpu };
    }
    if (data.status !== "PENDING" && data.status !== "IN_PROGRESS")
      throw new Error(`The export ended as ${data.status}: ${JSON.stringify(data.error)}`);
    await sleep(pollEveryMs);
  }
  throw new Error(`The export was not done after ${giveUpMs / 1000} s.`);
}

/** CPU seconds that Postgres has used so far, with all its processes. */
export function postgresCpu(): number | undefined {
  const postgres = findChild("bin/postgres");
  return postgres && cpuSecondsOfTree(postgres);
}

function cpuNow({ exporter }: System): ExportCpu {
  const s3 = findChild(bucketProgram);
  const own = process.cpuUsage();
  return {
    exporter: cpuSeconds(exporter.pid),
    postgres: postgresCpu(),
    sqlEndpoint: (own.user + own.system) / 1e6,
    s3: s3 && cpuSeconds(s3),
  };
}

function cpuBetween(before: ExportCpu, after: ExportCpu): ExportCpu {
  const used = (name: keyof ExportCpu): number | undefined => {
    const [from, to] = [before[name], after[name]];
    return from === undefined || to === undefined ? undefined : to - from;
  };
  return {
    exporter: used("exporter"),
    postgres: used("postgres"),
    sqlEndpoint: after.sqlEndpoint - before.sqlEndpoint,
    s3: used("s3"),
  };
}
