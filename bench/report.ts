import { availableParallelism, cpus } from "node:os";
import type { ExportReport } from "./export-benchmark.ts";
import { exportLines } from "./export-report.ts";
import type { FloodReport } from "./flood.ts";
import { floodLines } from "./flood-report.ts";
import type { Measured } from "./measure.ts";
import { bulkSize } from "./scenarios.ts";
import type { Searchable } from "./searchable.ts";
import type { Rate } from "./statistics.ts";
import { alignColumns, ms, percent, whole } from "./text-table.ts";

export type ApiReport = {
  yardsticks: Rate[];
  measured: Measured[];
  searchable: Searchable | undefined;
  /** INSERTs of one bulk a second, without the service. */
  rawInsertsPerSecond: number | undefined;
};

export type Report = ApiReport & {
  machine: string;
  /** The part of all cores that something else kept busy before anything was started. */
  busyBefore: number;
  connections: number;
  seconds: number;
  flood: FloodReport | undefined;
  exports: ExportReport | undefined;
  warnings: string[];
};

export function machineLine(workerdVersion: string): string {
  const [cpu] = cpus();
  const cores = `${availableParallelism()} cores${cpu ? ` (${cpu.model})` : ""}`;
  return `${cores}, Node ${process.version}, workerd ${workerdVersion}, ${process.platform}`;
}

/** With fewer logs in the backlog, its rate says more of the wait for a refresh than of the work. */
const enoughLogs = 2_000;

const columns = [
  "",
  "requests/s",
  "logs/s",
  "p50 ms",
  "p95 ms",
  "p99 ms",
  "ratio",
  "= 204s",
  "CPU ms",
  "= 204s by CPU",
  "busy",
  "errors",
];

/** The report as text for a terminal. */
export function reportText(report: Report): string {
  const { measured, yardsticks, searchable } = report;
  const lines = [
    report.machine,
    `${report.connections} connections, each window ${report.seconds} s; before the start ${percent(report.busyBefore)} busy with something else`,
    ...(measured.length === 0 ? [] : rateLines(measured, yardsticks)),
    ...measured.flatMap(indexingLine),
    ...rawInsertLine(report),
    ...(report.flood ? floodLines(report.flood) : []),
    ...(report.exports ? exportLines(report.exports) : []),
    ...(searchable
      ? [
          `On an idle system a POST is answered in ${ms(searchable.answeredMs.p50)} ms (p95 ${ms(searchable.answeredMs.p95)}), and its log is found ${ms(searchable.searchableMs.p50)} ms later (p95 ${ms(searchable.searchableMs.p95)}; ${searchable.probes} probes).`,
        ]
      : []),
    ...measured.flatMap(({ name, errors, firstError }) =>
      errors === 0 ? [] : [`ERROR in ${name}: ${errors} wrong answers, the first: ${firstError}`],
    ),
    ...(report.warnings.length === 0
      ? []
      : [
          `The Workers logged ${report.warnings.length} warnings, the first: ${report.warnings[0]}`,
        ]),
  ];
  return lines.join("\n");
}

function rateLines(measured: readonly Measured[], yardsticks: readonly Rate[]): string[] {
  return [
    "",
    ...alignColumns([
      columns,
      ["answers 204", ...rateCells(meanRate(yardsticks))],
      ...measured.map(measuredRow),
    ]),
    "",
    "ratio: requests/s beside those of a Worker that only answers 204, in the same process, right before",
    "and after. = 204s: how many of those one request takes the place of. CPU ms: what the API's workerd",
    "used for one request, without the database; of all figures, its number of 204s depends least on what",
    "else the machine does. busy: of all cores, with all that runs. Times are of a loaded machine.",
    "",
  ];
}

function measuredRow(one: Measured): string[] {
  const { latencyMs } = one;
  return [
    one.name,
    whole(one.perSecond),
    one.logsPerSecond === 0 ? "" : whole(one.logsPerSecond),
    ms(latencyMs?.p50),
    ms(latencyMs?.p95),
    ms(latencyMs?.p99),
    one.ratio.toFixed(4),
    one.costs.toFixed(1),
    one.cpuMsPerRequest?.toFixed(3) ?? "",
    one.cpuCosts?.toFixed(1) ?? "",
    percent(one.busy),
    String(one.errors),
  ];
}

function rateCells({ perSecond, cpuMsPerRequest }: Rate): string[] {
  return [
    whole(perSecond),
    "",
    "",
    "",
    "",
    "1",
    "1",
    cpuMsPerRequest?.toFixed(3) ?? "",
    "1",
    "",
    "0",
  ];
}

function meanRate(rates: readonly Rate[]): Rate {
  const cpu = rates.flatMap((rate) => rate.cpuMsPerRequest ?? []);
  return {
    perSecond: mean(rates.map((rate) => rate.perSecond)),
    cpuMsPerRequest: cpu.length === 0 ? undefined : mean(cpu),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function indexingLine({ name, indexerCpuMsPerLog, drained }: Measured): string[] {
  if (!drained) return [];
  const { waiting, left, seconds } = drained;
  const caughtUp =
    left > 0
      ? `${left} of ${waiting} logs still waited for the index ${seconds.toFixed(0)} s later`
      : waiting < enoughLogs
        ? "the index kept up"
        : `the index caught up with ${whole(waiting)} logs at ${whole(waiting / seconds)} a second`;
  const cpu =
    indexerCpuMsPerLog === undefined
      ? ""
      : `; meanwhile the indexer used ${indexerCpuMsPerLog.toFixed(3)} ms of CPU for each log written`;
  return [`After ${name} ${caughtUp}${cpu}.`];
}

function rawInsertLine({ rawInsertsPerSecond: raw, measured }: Report): string[] {
  if (raw === undefined) return [];
  const bulk = measured.find((one) => one.logsPerRequest === bulkSize);
  const ratio = bulk
    ? `; the service's bulk reaches ${(bulk.perSecond / raw).toFixed(2)} of it`
    : "";
  return [
    `The database alone takes ${whole(raw)} INSERTs/s of ${bulkSize} logs, with as many connections${ratio}.`,
  ];
}
