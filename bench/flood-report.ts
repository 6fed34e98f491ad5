import { floodPauseMs, type FloodReport, median, type Seen } from "./flood.ts";
import { bulkSize } from "./scenarios.ts";
import type { Latency } from "./statistics.ts";
import { alignColumns, ms, percent, whole } from "./text-table.ts";

const keys = ["p50", "p95", "p99"] as const satisfies (keyof Latency)[];

export function floodLines({ rounds, unlimited, connections }: FloodReport): string[] {
  const alone = rounds.map((round) => round.alone);
  const limited = rounds.map((round) => round.limited);
  const answered = rounds.map((round) => round.answered);
  const row = (name: string, seen: readonly Seen[]): string[] => [
    name,
    ...keys.map((key) => ms(median(seen.map(({ latencyMs }) => latencyMs[key])))),
    ...keys.map((key) => ratio(seen, alone, key)),
    percent(median(seen.map(({ apiCpu }) => apiCpu ?? Number.NaN))),
    whole(median(seen.map((one) => one.floodPerSecond))),
    whole(median(seen.map((one) => one.refusedPerSecond))),
  ];
  return [
    "",
    ...alignColumns([
      [
        "a quiet tenant",
        ...keys.map((key) => `${key} ms`),
        ...keys.map((key) => `${key} ×`),
        "CPU",
        "flood/s",
        "429/s",
      ],
      row("alone", alone),
      row("beside a flood", limited),
      row("beside one that is only answered", answered),
      row("the same as the first, without limits", [unlimited]),
    ]),
    "",
    `The first flood beside the second: ${keys.map((key) => `${key} ${ratio(limited, answered, key)} × (${spread(limited, answered, key)})`).join(", ")}.`,
    "",
    `The quiet tenant writes and reads single logs, about 40 a second. The flood: bulks of ${bulkSize} of one caller of`,
    `another tenant in the tier standard, ${connections} at a time, each sent ${floodPauseMs} ms after the last was answered or refused.`,
    "Only answered: the same requests, to a Worker that refuses without looking, in the API's process.",
    `×: beside alone. All are medians of ${rounds.length} rounds, in brackets the least and the most of them; without limits`,
    "there is one. CPU: what the API's process used, of one core.",
  ];
}

/** Each round is compared with itself: what else the machine did then meets both. */
function ratios(seen: readonly Seen[], base: readonly Seen[], key: keyof Latency): number[] {
  const all = median(base.map(({ latencyMs }) => latencyMs[key]));
  return seen.map(
    ({ latencyMs }, n) =>
      latencyMs[key] / (seen.length === base.length ? (base[n]?.latencyMs[key] ?? all) : all),
  );
}

function ratio(seen: readonly Seen[], base: readonly Seen[], key: keyof Latency): string {
  return median(ratios(seen, base, key)).toFixed(2);
}

function spread(seen: readonly Seen[], base: readonly Seen[], key: keyof Latency): string {
  const all = ratios(seen, base, key);
  return `${Math.min(...all).toFixed(2)} to ${Math.max(...all).toFixed(2)}`;
}
