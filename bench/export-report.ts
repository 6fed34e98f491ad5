import type { ExportMemory, ExportReport } from "./export-benchmark.ts";
import type { ExportCpu, Exported } from "./export-run.ts";
import { alignColumns, megabytes, whole } from "./text-table.ts";

const columns = [
  "",
  "rows/s",
  "MB/s",
  "ratio",
  ...["exporter", "Postgres", "SQL/HTTP", "S3"].map((name) => `${name} us`),
];

/** What the benchmark of exports found, as text for a terminal. */
export function exportLines(report: ExportReport): string[] {
  const { rows, copies, csv, jsonl, gzip, memory } = report;
  const copyRate = rows / mean(copies.map((copy) => copy.seconds));
  const row = (name: string, exports: readonly Exported[]): string[] => {
    const seconds = mean(exports.map((one) => one.seconds));
    return [
      name,
      whole(rows / seconds),
      whole(mean(exports.map((one) => one.bytes)) / seconds / 1e6),
      (rows / seconds / copyRate).toFixed(2),
      ...cpuNames.map((by) => microseconds(exports, by)),
    ];
  };
  return [
    "",
    `Exports of ${whole(rows)} logs:`,
    "",
    ...alignColumns([
      columns,
      [
        "COPY … TO STDOUT WITH CSV",
        whole(copyRate),
        whole((mean(copies.map((copy) => copy.bytes)) * copyRate) / rows / 1e6),
        "1",
        "",
        microsecondsOf(mean(copies.flatMap((copy) => copy.postgresCpu ?? [])), rows),
      ],
      row("CSV", csv),
      row("JSON Lines", [jsonl]),
      row("CSV, gzip", [gzip]),
    ]),
    "",
    "ratio: rows/s beside those of COPY of the same rows and columns by the same Postgres, right before and",
    "after. The time is from the POST until the export is DONE. us: microseconds of CPU for each row, by process. SQL",
    "over HTTP is a stand-in in Node on the same cores: with Neon that work is done elsewhere. The bucket of S3 counts",
    "bytes and keeps none of them, as the client of COPY does.",
    "",
    ...alignColumns([
      ["", "isolate MB", "objects", "buffers", "live MB", "process MB", "before"],
      ...memory.map(memoryRow),
    ]),
    "",
    "isolate: the most that the exporter's isolate held during an export, garbage included; live: after the garbage",
    "collector, asked for every 100 ms. process: workerd's resident memory at its peak, and before the export.",
    ...differenceLine(memory),
  ];
}

const cpuNames = [
  "exporter",
  "postgres",
  "sqlEndpoint",
  "s3",
] as const satisfies (keyof ExportCpu)[];

function microseconds(exports: readonly Exported[], by: keyof ExportCpu): string {
  const used = exports.flatMap(({ cpu, rows }) => {
    const seconds = cpu[by];
    return seconds === undefined ? [] : [(seconds * 1e6) / rows];
  });
  return used.length === 0 ? "" : mean(used).toFixed(1);
}

function microsecondsOf(seconds: number, rows: number): string {
  return Number.isNaN(seconds) ? "" : ((seconds * 1e6) / rows).toFixed(1);
}

function memoryRow({ rows, heap, live, processBefore, processPeak }: ExportMemory): string[] {
  return [
    `${whole(rows)} rows`,
    megabytes(heap.total),
    megabytes(heap.objects),
    megabytes(heap.buffers),
    megabytes(live.total),
    megabytes(processPeak),
    megabytes(processBefore),
  ];
}

function differenceLine(memory: readonly ExportMemory[]): string[] {
  const [first, last] = [memory.at(0), memory.at(-1)];
  if (!first || !last || first === last) return [];
  const more = (total: (one: ExportMemory) => number) => megabytes(total(last) - total(first));
  return [
    `From ${whole(first.rows)} to ${whole(last.rows)} rows: ${more(({ heap }) => heap.total)} MB more in the isolate, ${more(({ live }) => live.total)} MB more live.`,
  ];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
