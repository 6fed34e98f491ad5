import { join } from "node:path";
import { exportColumns } from "../events/csv-columns.ts";
import { Client, tokenOf } from "./client.ts";
import { copyOut } from "./copy-out.ts";
import { fillTenant } from "./export-logs.ts";
import { type Exported, type ExportKind, postgresCpu, runExport } from "./export-run.ts";
import { heapPeakDuring, type HeapPeak } from "./isolate-heap.ts";
import { peakBytes, residentBytes, resetPeak } from "./process-memory.ts";
import { profiled } from "./profile.ts";
import type { System } from "./system.ts";

export type ExportMemory = {
  rows: number;
  heap: HeapPeak;
  /** Of another export: what of the heap is not garbage. */
  live: HeapPeak;
  /** The exporter's whole process before the export, and at its peak. */
  processBefore: number | undefined;
  processPeak: number | undefined;
};

export type Copied = {
  bytes: number;
  seconds: number;
  /** CPU seconds of Postgres. */
  postgresCpu: number | undefined;
};

export type ExportReport = {
  rows: number;
  /** In turn: a COPY, an export, …, a COPY. */
  copies: Copied[];
  csv: Exported[];
  /** Once each, for comparison. */
  jsonl: Exported;
  gzip: Exported;
  memory: ExportMemory[];
};

const csv: ExportKind = { format: "csv", compression: "none" };
const rounds = 2;
/** Memory is to be the same for all of these, and for as many rows as the speed is taken of. */
const memoryRows = [10_000, 100_000];

/** Exports by the real exporter beside COPY by the same Postgres, and what the exporter's isolate holds meanwhile. */
export async function benchmarkExports(
  system: System,
  rows: number,
  profileDir: string | undefined,
  onProgress: (text: string) => void,
): Promise<ExportReport> {
  const sizes = [...memoryRows.filter((size) => size < rows), rows];
  const clients = new Map<number, { client: Client; filledAt: string }>();
  for (const size of sizes) {
    await fillTenant(system.databaseUrl, tenantOf(size), size);
    const client = new Client(system.apiPort, await tokenOf(tenantOf(size), system.jwtSecret));
    clients.set(size, { client, filledAt: new Date().toISOString() });
    onProgress(`${size} logs to export are there`);
  }
  const exportOf = async (size: number, kind: ExportKind): Promise<Exported> => {
    const filled = clients.get(size);
    if (!filled) throw new RangeError(`There are no ${size} logs.`);
    const { client, filledAt: to } = filled;
    const done = await runExport(client, system, { ...kind, filters: { to } });
    if (done.rows !== size) throw new Error(`The export has ${done.rows} rows and not ${size}.`);
    return done;
  };
  const copy = async (): Promise<Copied> => {
    const before = postgresCpu();
    const copied = await copyOut(system.databaseUrl, tenantOf(rows), exportColumns);
    const after = postgresCpu();
    const cpu = before === undefined || after === undefined ? undefined : after - before;
    return { ...copied, postgresCpu: cpu };
  };

  // Warms up: the first time code is compiled, and blocks are read from the disk.
  await exportOf(sizes[0] ?? rows, csv);
  await copy();
  const copies = [await copy()];
  const exported: Exported[] = [];
  for (let round = 0; round < rounds; round++) {
    exported.push(await exportOf(rows, csv));
    copies.push(await copy());
    onProgress(`export ${round + 1} of ${rounds} as CSV`);
  }
  const jsonl = await exportOf(rows, { format: "jsonl", compression: "none" });
  onProgress("export as JSON Lines");
  const gzip = await exportOf(rows, { format: "csv", compression: "gzip" });
  onProgress("export as CSV with gzip");
  const memory: ExportMemory[] = [];
  for (const size of sizes) memory.push(await memoryOf(system, size, () => exportOf(size, csv)));
  onProgress("memory taken");
  if (profileDir !== undefined) {
    const file = join(profileDir, `export-${system.exporter.service}.cpuprofile`);
    await profiled(system.exporter, file, () => exportOf(rows, csv));
  }
  return { rows, copies, csv: exported, jsonl, gzip, memory };
}

const tenantOf = (rows: number): string => `export-${rows}`;

async function memoryOf(
  { exporter }: System,
  rows: number,
  work: () => Promise<unknown>,
): Promise<ExportMemory> {
  const processBefore = residentBytes(exporter.pid);
  resetPeak(exporter.pid);
  const heap = await heapPeakDuring(exporter, "garbage", work);
  const processPeak = peakBytes(exporter.pid);
  const live = await heapPeakDuring(exporter, "live", work);
  return { rows, heap, live, processBefore, processPeak };
}
